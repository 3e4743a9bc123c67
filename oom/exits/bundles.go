package exits

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/oom"
)

const (
	// bundlesDir is where containerd has the bundles of each of its namespaces, below its
	// state directory (core/runtime/v2/task_manager.go).
	bundlesDir = "io.containerd.runtime.v2.task"
	recordFile = "oomwitness.json"
	specFile   = "config.json"

	// maxBundles bounds the bundles that are read, maxBundleFile the bytes of a file.
	maxBundles    = 4096
	maxBundleFile = 1 << 20
)

// Live is a container whose shim has recorded no verdict yet.
type Live struct {
	ID, Namespace, Boot string
	Pod                 *Pod
	Pid                 int
	StartTicks          uint64
}

// record is the part of a bundle's record (shim/internal/bundle) that is read here.
type record struct {
	ID         string       `json:"id"`
	Boot       string       `json:"boot"`
	Pid        int          `json:"pid"`
	StartTicks uint64       `json:"startTicks"`
	Stops      []oom.Stop   `json:"stops"`
	Status     *int         `json:"exitStatus"`
	ExitedAt   *time.Time   `json:"exitedAt"`
	Verdict    *oom.Verdict `json:"verdict"`
	Delivered  bool         `json:"acknowledged"`
	ExitCode   int          `json:"oomExitCode"`
	TrueStatus bool         `json:"asIs"`
}

// Bundles returns the exits and the live containers by the records in the bundles of a
// containerd, whose state directory is /run/containerd by default. damaged counts bundles
// whose record could not be read.
func Bundles(state string) (list []Exit, live []Live, damaged int, err error) {
	root := filepath.Join(state, bundlesDir)
	namespaces, err := os.ReadDir(root)
	if err != nil {
		return nil, nil, 0, fmt.Errorf("read the bundles: %w", err)
	}
	for _, ns := range namespaces {
		bundles, err := os.ReadDir(filepath.Join(root, ns.Name()))
		if err != nil {
			continue // removed, or no folder
		}
		for _, b := range bundles[:min(len(bundles), maxBundles)] {
			e, l, err := ReadBundle(filepath.Join(root, ns.Name(), b.Name()), ns.Name())
			switch {
			case errors.Is(err, fs.ErrNotExist): // of another shim
			case err != nil:
				damaged++
			case e != nil:
				list = append(list, *e)
			default:
				live = append(live, *l)
			}
		}
	}
	return list, live, damaged, nil
}

// ReadBundle returns the exit in a bundle's record, or the live container if there is no
// verdict yet.
func ReadBundle(dir, namespace string) (*Exit, *Live, error) {
	text, err := readSmall(filepath.Join(dir, recordFile))
	if err != nil {
		return nil, nil, err
	}
	var rec record
	if err := json.Unmarshal(newest(text), &rec); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", filepath.Join(dir, recordFile), err)
	}
	pod := podIn(namespace, podOfBundle(dir))
	if rec.Verdict == nil || rec.Status == nil || rec.ExitedAt == nil {
		return nil, &Live{ID: rec.ID, Namespace: namespace, Boot: rec.Boot, Pod: pod, Pid: rec.Pid, StartTicks: rec.StartTicks}, nil
	}
	e := &Exit{
		Version: Version, ID: rec.ID, Namespace: namespace, Boot: rec.Boot, Pid: rec.Pid, StartTicks: rec.StartTicks, Pod: pod,
		At: *rec.ExitedAt, Status: *rec.Status, Reported: *rec.Status, Acked: rec.Delivered, Verdict: *rec.Verdict, InBundle: true,
	}
	if rec.Verdict.OOMKilled && rec.ExitCode != 0 && !rec.TrueStatus {
		e.Reported = rec.ExitCode
	}
	e.Stops = Signals(rec.Stops)
	if err := e.Check(); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", filepath.Join(dir, recordFile), err)
	}
	return e, nil, nil
}

// newest returns the last whole line of a record, which says all: nothing where no line
// is whole.
func newest(text []byte) []byte {
	end := max(bytes.LastIndexByte(text, '\n'), 0)
	return text[bytes.LastIndexByte(text[:end], '\n')+1 : end]
}

// podOfBundle returns the names of the container in a bundle, nil where there are none.
func podOfBundle(dir string) *Pod {
	text, err := readSmall(filepath.Join(dir, specFile))
	if err != nil {
		return nil
	}
	var spec struct {
		Annotations map[string]string `json:"annotations"`
	}
	if json.Unmarshal(text, &spec) != nil {
		return nil
	}
	return PodOf(spec.Annotations)
}

func readSmall(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() || fi.Size() > maxBundleFile {
		return nil, errors.Join(err, fmt.Errorf("%s: allowed is a regular file of %d bytes", path, maxBundleFile))
	}
	return io.ReadAll(io.LimitReader(f, maxBundleFile))
}

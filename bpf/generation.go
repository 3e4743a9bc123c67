package bpf

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/bpf/internal/pinned"
)

// DefaultDir is where the ledger is pinned.
const DefaultDir = "/sys/fs/bpf/oomwitness"

// A ledger's folder holds generations, each with all pins of one load, and the
// symbolic link "current" to the one in force. Renaming a new link over it is
// the one step by which a ledger appears or is replaced: everything before it
// is rubbish to the next loader, everything after it as well.
const (
	currentName = "current"
	nextName    = "next"
	genPrefix   = "g"
)

// rootsAlone returns ErrForeign where others than root can change what is in dir. A BPF file
// system that mount(8) made has a folder for all (bpf_fill_super of kernel/bpf/inode.c): there
// an ordinary user can make the ledger's folder, or a link in its place, before root does. No
// folder at all is no error.
func rootsAlone(dir string) error {
	var st unix.Stat_t
	err := unix.Lstat(dir, &st)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return permission(fmt.Errorf("find the OOM ledger: %s: %w", dir, err))
	case st.Uid != 0, st.Mode&(unix.S_IFMT|0o022) != unix.S_IFDIR:
		return fmt.Errorf("%w: %s is user %d's, with mode %06o: remove it", ErrForeign, dir, st.Uid, st.Mode)
	}
	return nil
}

// generation is one load's folder.
type generation struct {
	dir  string // the ledger's folder
	name string
}

// programs reads tier and version of a generation's programs from its name.
func (g generation) programs() (Tier, uint32, error) {
	fields := strings.Split(g.name, "_")
	if len(fields) != 4 {
		return 0, 0, fmt.Errorf("malformed generation %q", g.name)
	}
	tier, err := ParseTier(fields[2])
	if err != nil || tier == TierAuto {
		return 0, 0, fmt.Errorf("malformed generation %q", g.name)
	}
	version, err := strconv.ParseUint(fields[3], 10, 32)
	if err != nil {
		return 0, 0, fmt.Errorf("malformed generation %q", g.name)
	}
	return tier, uint32(version), nil
}

func (g generation) path(name string) string { return filepath.Join(g.dir, g.name, name) }

// currentGeneration follows the link, ErrAbsent where there is none.
func currentGeneration(dir string) (generation, error) {
	name, err := os.Readlink(filepath.Join(dir, currentName))
	if errors.Is(err, fs.ErrNotExist) {
		return generation{}, fmt.Errorf("%s: %w", dir, ErrAbsent)
	}
	if err != nil {
		return generation{}, permission(fmt.Errorf("find the OOM ledger: %w", err))
	}
	if !strings.HasPrefix(name, genPrefix) || strings.ContainsRune(name, '/') {
		return generation{}, fmt.Errorf("find the OOM ledger: %s leads to %q", currentName, name)
	}
	return generation{dir: dir, name: name}, nil
}

// whole reports whether the generation is the one in force with all its links:
// whoever is asked after a lookup knows that the programs were attached when it
// was done.
func (g generation) whole(links []string) error {
	now, err := currentGeneration(g.dir)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRetired, err)
	}
	if now.name != g.name {
		return fmt.Errorf("%w: replaced", ErrRetired)
	}
	for _, name := range links {
		var st unix.Stat_t
		if err := unix.Lstat(g.path(name), &st); err != nil {
			return fmt.Errorf("%w: %s: %w", ErrRetired, name, err)
		}
	}
	return nil
}

// folder is what changes of a generation's folder when a pin is made or removed
// (simple_unlink and simple_rename of fs/libfs.c, bpf_dentry_finalize of
// kernel/bpf/inode.c).
type folder struct {
	device, inode uint64
	changed       unix.Timespec
}

// folderOf looks at the folder at a path, which may be the link to the generation in force.
func folderOf(path string) (folder, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return folder{}, err
	}
	return folder{device: st.Dev, inode: st.Ino, changed: st.Mtim}, nil
}

// coarse is more than the steps of the clock that files are stamped with: one tick of the
// kernel, 10 ms at most.
const coarse = 20 * time.Millisecond

// settled reports whether the next change will have another time than the last.
func (f folder) settled() bool { return time.Since(time.Unix(f.changed.Unix())) > coarse }

// links names the pinned links, ErrRetired if they are not all there.
func (g generation) links() ([]string, error) {
	links, err := g.anyLinks()
	if err != nil {
		return nil, err
	}
	tier, _, err := g.programs()
	if err != nil {
		return nil, err
	}
	// One more looks at candidates, where the kernel has the function.
	if want := len(tier.hooks("")); len(links) < want {
		return nil, fmt.Errorf("%w: %d links are pinned, of %d at the least", ErrRetired, len(links), want)
	}
	return links, nil
}

// allMaps returns an error if a map's pin is missing or another map's.
func (g generation) allMaps() error {
	for _, name := range mapNames {
		m, err := g.openMap(name, pinned.ReadOnly)
		if err != nil {
			return err
		}
		discard(m)
	}
	return nil
}

func (g generation) anyLinks() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(g.dir, g.name))
	if err != nil {
		return nil, err
	}
	var links []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), linkPrefix) {
			links = append(links, e.Name())
		}
	}
	return links, nil
}

func (g generation) openMap(name string, access pinned.Access) (*pinned.Map, error) {
	m, err := pinned.Open(g.path(name), access)
	if err != nil {
		return nil, fmt.Errorf("open the OOM ledger's %s: %w", name, permission(err, capBPF))
	}
	shape := mapShapes[name]
	if m.Kind != shape.kind || m.KeySize != shape.keySize || m.ValueSize < shape.leastValue {
		discard(m)
		return nil, fmt.Errorf("%w: %s is a map of type %d with keys of %d bytes and values of %d, not of type %d with %d and at least %d",
			ErrRetired, g.path(name), m.Kind, m.KeySize, m.ValueSize, shape.kind, shape.keySize, shape.leastValue)
	}
	return m, nil
}

// discard closes what was only a way to look at something.
func discard(c io.Closer) { _ = c.Close() }

// about reads what userspace wrote about the generation. Only the first
// metaFixed bytes are of every ABI: where ABI is not this one the rest may be missing.
func about(meta *pinned.Map) (metaValue, error) { return readMeta(meta, metaAbout) }

// about reads that of the generation's own meta.
func (g generation) about() (metaValue, error) {
	meta, err := g.openMap(mapMeta, pinned.ReadOnly)
	if err != nil {
		return metaValue{}, err
	}
	defer discard(meta)
	return about(meta)
}

// otherGenerations returns all but the one named.
func otherGenerations(dir, current string) ([]generation, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list the OOM ledger's folder: %w", err)
	}
	var gens []generation
	for _, e := range entries {
		g := generation{dir: dir, name: e.Name()}
		if !e.IsDir() || e.Name() == current || !strings.HasPrefix(e.Name(), genPrefix) {
			continue
		}
		if _, _, err := g.programs(); err == nil { // else somebody else's folder
			gens = append(gens, g)
		}
	}
	return gens, nil
}

//go:build linux

package shim

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	upstream "github.com/containerd/containerd/v2/pkg/shim"

	"github.com/oomwitness/oomwitness/bpf"
)

// bootstrapFile is containerd's note of where a bundle's shim is to be reached.
const bootstrapFile = "bootstrap.json"

// removeSocket removes a dead shim's socket, which upstream leaves where it was
// until the next shim of that name, and a pod's name does not come again. One
// that a shim answers on stays: a pod's containers share it.
func removeSocket(bundle string) {
	data, err := readBundleFile(filepath.Join(bundle, bootstrapFile))
	if err != nil {
		return
	}
	path, err := parseSocket(data)
	if err != nil {
		return
	}
	fi, err := os.Lstat(path)
	if err != nil || fi.Mode().Type() != os.ModeSocket || upstream.CanConnect("unix://"+path) {
		return
	}
	_ = os.Remove(path)
}

// parseSocket finds the path of the socket in containerd's note.
func parseSocket(data []byte) (string, error) {
	var note struct {
		Address string `json:"address"`
	}
	if err := json.Unmarshal(data, &note); err != nil {
		return "", err
	}
	path, ok := strings.CutPrefix(note.Address, "unix://")
	if !ok || !filepath.IsAbs(path) || filepath.Clean(path) != path || strings.ContainsRune(path, 0) {
		return "", fmt.Errorf("address %q, allowed: unix:// and an absolute path", note.Address)
	}
	return path, nil
}

// runs says whether a process that began then still runs. One that could not be
// told apart by its beginning does if any has its pid.
func runs(pid int, startTicks uint64) bool {
	ticks, err := bpf.StartTicks(pid)
	if err != nil {
		return !errors.Is(err, os.ErrNotExist)
	}
	return (startTicks == 0 || ticks == startTicks) && !zombie(pid)
}

// zombie says whether a process has ended and waits to be reaped.
func zombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return errors.Is(err, os.ErrNotExist)
	}
	// The state comes after the name, which may hold spaces and brackets.
	_, after, ok := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), " ")
	return ok && (strings.HasPrefix(after, "Z") || strings.HasPrefix(after, "X"))
}

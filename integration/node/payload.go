//go:build linux

package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/oomwitness/oomwitness/integration/guest/wire"
)

// ErrFileFlag reports a file of the payload that is not given as HOST=GUEST.
var ErrFileFlag = errors.New("want HOST=GUEST with a guest path below " + wire.PayloadDir)

// File is a file or folder of the host that a run copies into the guest.
type File struct {
	Host  string
	Guest string // relative to /opt/oomwitness
}

// ParseFile parses HOST=GUEST.
func ParseFile(text string) (File, error) {
	host, guest, ok := strings.Cut(text, "=")
	guest = strings.TrimPrefix(guest, wire.PayloadDir+"/")
	if !ok || host == "" || !filepath.IsLocal(guest) || guest == "." || guest == wire.SpecFile {
		return File{}, fmt.Errorf("file %q: %w", text, ErrFileFlag)
	}
	return File{Host: host, Guest: guest}, nil
}

// makePayload writes the payload disk of one run.
func makePayload(ctx context.Context, runDir string, spec wire.Spec, files []File) (string, error) {
	stage := filepath.Join(runDir, "payload")
	if err := os.MkdirAll(filepath.Join(stage, "bin"), 0o755); err != nil {
		return "", fmt.Errorf("make payload: %w", err)
	}
	defer os.RemoveAll(stage)
	for _, file := range files {
		if err := copyTree(file.Host, filepath.Join(stage, file.Guest)); err != nil {
			return "", fmt.Errorf("make payload: %w", err)
		}
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return "", fmt.Errorf("make payload: %w", err)
	}
	if err := os.WriteFile(filepath.Join(stage, wire.SpecFile), text, 0o644); err != nil {
		return "", fmt.Errorf("make payload: %w", err)
	}
	image := filepath.Join(runDir, "payload.img")
	return image, makeDisk(ctx, stage, image, readOnlyDisk)
}

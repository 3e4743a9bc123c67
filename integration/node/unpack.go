//go:build linux

package node

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// unpacker unpacks the archive that is written to it. Top-level folders go to their targets;
// anything else is dropped.
type unpacker struct {
	*io.PipeWriter
	done chan error
}

func newUnpacker(targets map[string]string) *unpacker {
	r, w := io.Pipe()
	u := &unpacker{PipeWriter: w, done: make(chan error, 1)}
	go func() {
		err := unpack(r, targets)
		// Read what pads the archive, or report the error to the writer.
		if err == nil {
			_, err = io.Copy(io.Discard, r)
		}
		r.CloseWithError(err)
		u.done <- err
	}()
	return u
}

// close waits until all files are written. An archive that was never begun is no error: the
// guest may have crashed before.
func (u *unpacker) close() error {
	return errors.Join(u.Close(), <-u.done)
}

func unpack(r io.Reader, targets map[string]string) error {
	archive := tar.NewReader(r)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read files of guest: %w", err)
		}
		top, rel, _ := strings.Cut(header.Name, "/")
		target, ok := targets[top]
		if !ok || header.Typeflag != tar.TypeReg {
			continue
		}
		if !filepath.IsLocal(rel) {
			return fmt.Errorf("file %q of guest leaves its folder", header.Name)
		}
		if err := unpackFile(filepath.Join(target, rel), archive); err != nil {
			return err
		}
	}
}

func unpackFile(name string, r io.Reader) (err error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return fmt.Errorf("make out folder: %w", err)
	}
	file, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("make out file: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if _, err := io.Copy(file, r); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

//go:build linux

package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"time"

	"github.com/oomwitness/oomwitness/integration/guest/wire"
)

// follow copies the file to w while the file grows. When the context ends, it copies up to the
// file's end and returns.
func follow(ctx context.Context, name string, w io.Writer) {
	var file *os.File
	for done := false; ; {
		if file == nil {
			file, _ = os.Open(name)
		}
		if file != nil {
			if _, err := io.Copy(w, file); err != nil {
				return
			}
		}
		if done {
			return
		}
		select {
		case <-ctx.Done():
			done = true
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// sendFiles sends the files of the out folder as one archive; after a failure also the guest's
// logs.
func sendFiles(h *host, out string, failed bool) error {
	buffer := bufio.NewWriterSize(h.writer(wire.Tar), wire.MaxPayload/2)
	archive := tar.NewWriter(buffer)
	if failed {
		for name, args := range map[string][]string{
			"kernel.log":  {"dmesg"},
			"journal.log": {"journalctl", "--boot", "--no-pager", "--output=short-monotonic"},
		} {
			if err := addOutput(archive, path.Join(wire.LogsDir, name), args); err != nil {
				return err
			}
		}
	}
	if out != "" {
		if err := addTree(archive, wire.OutDir, out); err != nil {
			return err
		}
	}
	if err := archive.Close(); err != nil {
		return fmt.Errorf("close archive: %w", err)
	}
	return buffer.Flush()
}

// addOutput adds the output of a command, if the guest has the command.
func addOutput(archive *tar.Writer, name string, args []string) error {
	//nolint:noctx // the host ends the guest when this takes too long
	output, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return nil
	}
	return addFile(archive, &tar.Header{Name: name, Mode: 0o644}, output)
}

// addTree adds the regular files below root. It reads each file whole first: a log may grow
// while it is copied.
func addTree(archive *tar.Writer, prefix, root string) error {
	return filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("read %s: %w", file, err)
		}
		rel, err := filepath.Rel(root, file)
		if err != nil {
			return fmt.Errorf("name %s: %w", file, err)
		}
		return addFile(archive, &tar.Header{Name: path.Join(prefix, rel), Mode: 0o644}, content)
	})
}

func addFile(archive *tar.Writer, header *tar.Header, content []byte) error {
	header.Size = int64(len(content))
	header.ModTime = time.Now()
	if err := archive.WriteHeader(header); err != nil {
		return fmt.Errorf("add %s: %w", header.Name, err)
	}
	if _, err := io.Copy(archive, bytes.NewReader(content)); err != nil {
		return fmt.Errorf("add %s: %w", header.Name, err)
	}
	return nil
}

//go:build linux

package node

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// lockPoll is how often a waiting process asks for the lock again: flock(2)
// cannot be interrupted by a context.
const lockPoll = 200 * time.Millisecond

// ErrBusy reports a cache that a running node uses.
var ErrBusy = errors.New("a node is running")

// flock opens a lock file of the cache folder and takes the lock, without
// waiting. The kernel releases it when the file is closed or the process dies.
func flock(dir, name string, how int) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make cache folder: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), how|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", name, err), file.Close())
	}
	return file, nil
}

// lockCache takes the lock of the preparation, for one process at a time.
func lockCache(ctx context.Context, dir string, progress io.Writer) (*os.File, error) {
	for waiting := false; ; {
		file, err := flock(dir, "lock", syscall.LOCK_EX)
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return file, err
		}
		if !waiting {
			fmt.Fprintln(progress, "waiting for another process that prepares the node")
			waiting = true
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for cache lock: %w", ctx.Err())
		case <-time.After(lockPoll):
		}
	}
}

// useCache takes a lock that prevents Clean as long as the file is open.
func useCache(dir string) (*os.File, error) { return flock(dir, "use", syscall.LOCK_SH) }

// build makes a cached file or folder. fill writes to a temporary name, which becomes name if
// fill succeeds.
func build(name string, fill func(tmp string) error) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return fmt.Errorf("make cache folder: %w", err)
	}
	tmp := name + ".tmp"
	if err := os.RemoveAll(tmp); err != nil {
		return fmt.Errorf("clear %s: %w", tmp, err)
	}
	if err := fill(tmp); err != nil {
		return errors.Join(err, os.RemoveAll(tmp))
	}
	if err := os.RemoveAll(name); err != nil {
		return fmt.Errorf("clear %s: %w", name, err)
	}
	if err := os.Rename(tmp, name); err != nil {
		return fmt.Errorf("keep %s: %w", name, err)
	}
	return nil
}

// keepUnused is how long files of older inputs stay: a Machine of another process may still use
// them.
const keepUnused = 24 * time.Hour

// used marks a cached file as used now. It removes files of older inputs: siblings with the
// prefix that were not used for keepUnused.
func used(name, prefix string) error {
	now := time.Now()
	if err := os.Chtimes(name, now, now); err != nil {
		return fmt.Errorf("mark cached file: %w", err)
	}
	entries, err := os.ReadDir(filepath.Dir(name))
	if err != nil {
		return fmt.Errorf("list cache: %w", err)
	}
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), prefix) {
			continue
		}
		info, err := entry.Info()
		if err != nil {
			return fmt.Errorf("list cache: %w", err)
		}
		if now.Sub(info.ModTime()) < keepUnused {
			continue
		}
		if err := os.RemoveAll(filepath.Join(filepath.Dir(name), entry.Name())); err != nil {
			return fmt.Errorf("remove stale cache: %w", err)
		}
	}
	return nil
}

// key returns a short hash of inputs.
func key(inputs ...string) string {
	sum := sha256.New()
	for _, input := range inputs {
		fmt.Fprintf(sum, "%d:%s\n", len(input), input)
	}
	return hex.EncodeToString(sum.Sum(nil))[:16]
}

// fileKey returns the hash of a file's content.
func fileKey(name string) (string, error) {
	file, err := os.Open(name)
	if err != nil {
		return "", fmt.Errorf("hash file: %w", err)
	}
	defer file.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return "", fmt.Errorf("hash %s: %w", name, err)
	}
	return hex.EncodeToString(sum.Sum(nil))[:16], nil
}

// exists reports whether a file with that name exists.
func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// Clean removes the cache folder. It fails while nodes run.
func Clean(ctx context.Context, dir string, progress io.Writer) error {
	if !exists(dir) {
		return nil
	}
	lock, err := lockCache(ctx, dir, progress)
	if err != nil {
		return err
	}
	defer lock.Close()
	use, err := flock(dir, "use", syscall.LOCK_EX)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return fmt.Errorf("clean cache: %w", ErrBusy)
	}
	if err != nil {
		return fmt.Errorf("clean cache: %w", err)
	}
	defer use.Close()
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove cache: %w", err)
	}
	return nil
}

//go:build linux

package node

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestLockIsExclusive(t *testing.T) {
	dir := t.TempDir()
	lock, err := lockCache(t.Context(), dir, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var progress bytes.Buffer
	if _, err := lockCache(ctx, dir, &progress); !errors.Is(err, context.Canceled) {
		t.Fatalf("second lock: %v", err)
	}
	if progress.Len() == 0 {
		t.Fatal("waits without saying so")
	}
	lock.Close()
	if lock, err = lockCache(t.Context(), dir, io.Discard); err != nil {
		t.Fatalf("lock after unlock: %v", err)
	}
	lock.Close()
}

func TestCleanLeavesRunningNodes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	use, err := useCache(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := Clean(t.Context(), dir, io.Discard); !errors.Is(err, ErrBusy) {
		t.Fatalf("clean while running: %v", err)
	}
	use.Close()
	if err := Clean(t.Context(), dir, io.Discard); err != nil {
		t.Fatal(err)
	}
	if exists(dir) {
		t.Fatal("cache is still there")
	}
}

func TestBuildKeepsOnlySuccess(t *testing.T) {
	name := filepath.Join(t.TempDir(), "thing")
	failure := errors.New("failure")
	err := build(name, func(tmp string) error {
		return errors.Join(failure, os.WriteFile(tmp, nil, 0o644))
	})
	if !errors.Is(err, failure) || exists(name) || exists(name+".tmp") {
		t.Fatalf("after failure: %v", err)
	}
	if err := build(name, func(tmp string) error { return os.WriteFile(tmp, nil, 0o644) }); err != nil || !exists(name) {
		t.Fatalf("after success: %v", err)
	}
}

func TestUsedRemovesOnlyStale(t *testing.T) {
	dir := t.TempDir()
	long := time.Now().Add(-2 * keepUnused)
	for name, when := range map[string]time.Time{"a-now": long, "a-old": long, "a-new": time.Now(), "b-old": long} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(filepath.Join(dir, name), when, when); err != nil {
			t.Fatal(err)
		}
	}
	if err := used(filepath.Join(dir, "a-now"), "a-"); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"a-now": true, "a-old": false, "a-new": true, "b-old": true} {
		if exists(filepath.Join(dir, name)) != want {
			t.Errorf("%s: kept %v", name, !want)
		}
	}
}

//go:build linux

package docker

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// atOnce is the number of containers that run at the same time.
const atOnce = 4

// TestDocker runs each case under each pair. Under this project's shim all outcomes must be
// right. The stock shim's figures are printed for comparison.
func TestDocker(t *testing.T) {
	for _, p := range pairs() {
		t.Run("docker-"+p.docker, func(t *testing.T) {
			ours := ours(t)
			s := newStack(t, p, ours)
			for _, c := range cases() {
				t.Run(c.name, func(t *testing.T) {
					f := s.many(t, c, runs(t))
					report(t, p, ours, c.name, f)
					if ours {
						require.Empty(t, f.wrong)
					}
				})
			}
			t.Run("away", func(t *testing.T) { s.away(t, ours) })
		})
	}
}

// report prints one line of figures.
func report(t *testing.T, p pair, ours bool, name string, f *figures) {
	t.Helper()
	shim := "stock"
	if ours {
		shim = "oomwitness"
	}
	fmt.Printf("docker=%s containerd=%s shim=%s case=%s %s\n", p.docker, p.containerd, shim, name, f)
	for _, wrong := range f.wrong {
		t.Log(wrong)
	}
}

// many runs n containers of a case, some at a time.
func (s *stack) many(t *testing.T, c testCase, n int) *figures {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var (
		f     figures
		mu    sync.Mutex // guards f
		group sync.WaitGroup
		turn  = make(chan struct{}, atOnce)
	)
	for range n {
		group.Go(func() {
			turn <- struct{}{}
			defer func() { <-turn }()
			id, o, err := s.run(ctx, c)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
				return
			}
			f.add(c, id, o)
			if err := s.api.remove(ctx, id); err != nil {
				t.Errorf("remove: %v", err)
			}
		})
	}
	group.Wait()
	return &f
}

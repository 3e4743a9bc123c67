//go:build linux

package faultkit

import (
	"context"
	"fmt"
	"slices"

	"github.com/oomwitness/oomwitness/oom/exits"
)

// Exit waits for the exit of a container in the spool: what its shim has decided. The spool
// outlives bundle, container and pod.
func Exit(ctx context.Context, id string) (e exits.Exit, err error) {
	err = Until(ctx, "the exit of "+id, func() error {
		all, _, err := exits.Read(exits.DefaultDir)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(all, func(e exits.Exit) bool { return e.ID == id })
		if i < 0 {
			return fmt.Errorf("none of %d in the spool", len(all))
		}
		e = all[i]
		return nil
	})
	return e, err
}

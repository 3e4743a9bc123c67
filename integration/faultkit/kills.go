//go:build linux

package faultkit

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
)

// Kill is a victim, with the fields of oomwitness trace that the tests read.
type Kill struct {
	Cause  string
	Victim struct {
		Comm string
		// Init says that the victim was process 1 of its container.
		Init bool
	}
	// Domain is what ran out of memory: a cgroup, or the node.
	Domain struct {
		Path string
		// Size is in bytes.
		Size uint64 `json:"size_bytes"`
	}
}

// Kills returns the ledger's victims in a container, oldest first.
func Kills(ctx context.Context, id string) (kills []Kill, err error) {
	out, err := exec.CommandContext(ctx, Command, "trace", "--follow=false", "-o", "json", "--container", id).Output()
	if err != nil {
		return nil, fmt.Errorf("trace: %w", err)
	}
	for line := range bytes.Lines(out) {
		var k Kill
		if err := json.Unmarshal(line, &k); err != nil {
			return nil, fmt.Errorf("trace: %w: %s", err, line)
		}
		kills = append(kills, k)
	}
	return kills, nil
}

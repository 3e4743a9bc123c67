//go:build linux

package node

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// The kinds of acceleration: software emulation, hardware virtualisation, and hardware if a
// trial boot shows that it works.
const (
	AccelTCG  = "tcg"
	AccelKVM  = "kvm"
	AccelAuto = "auto"
)

// trialTime limits the trial boot; a boot that works takes 2 seconds.
const trialTime = 10 * time.Second

// chooseAccel resolves AccelAuto. The result of the trial is cached.
func (c Config) chooseAccel(ctx context.Context, kernel *kernelFiles, initramfs string) (string, error) {
	if c.Accel != AccelAuto {
		return c.Accel, nil
	}
	if !c.platform().native() {
		return AccelTCG, nil
	}
	cached := filepath.Join(c.Cache, "accel")
	if text, err := os.ReadFile(cached); err == nil {
		return strings.TrimSpace(string(text)), nil
	}
	accel := AccelTCG
	if exists("/dev/kvm") {
		c.step(6, "boot: trying hardware virtualisation, for %s at most", trialTime)
		if trialBoot(ctx, vm{
			platform: c.platform(), kernel: kernel.image, initramfs: initramfs, accel: AccelKVM, memory: 256,
			append: []string{"node.trial"}, console: filepath.Join(c.Cache, "trial.log"),
		}) {
			accel = AccelKVM
		}
		c.step(6, "boot: using %s from now on", accel)
	}
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if err := os.WriteFile(cached, []byte(accel+"\n"), 0o644); err != nil {
		return "", fmt.Errorf("cache trial boot: %w", err)
	}
	return accel, nil
}

// trialBoot reports whether the initramfs came up in time.
func trialBoot(ctx context.Context, v vm) bool {
	ctx, cancel := context.WithTimeout(ctx, trialTime)
	defer cancel()
	cmd := v.command(ctx, os.TempDir())
	if err := cmd.Start(); err != nil {
		return false
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = cmd.Wait() // the console shows whether the guest came up
	}()
	select {
	case <-done:
	case <-ctx.Done():
		select {
		case <-done:
		case <-time.After(abandonTime):
		}
	}
	text, err := os.ReadFile(v.console)
	return err == nil && bytes.Contains(text, []byte("node: trial ok"))
}

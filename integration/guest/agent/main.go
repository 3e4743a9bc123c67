//go:build linux

// Command agent runs inside the guest: it waits for containerd, runs the
// command of the payload, reports to the host and switches the guest off.
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	"github.com/oomwitness/oomwitness/integration/guest/wire"
)

// lingerTime is the time that the host has to read the last frame and to end QEMU. The disks
// are snapshots, so nothing has to be synced.
const lingerTime = 5 * time.Second

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "agent:", err)
	}
	time.Sleep(lingerTime)
	if err := syscall.Reboot(syscall.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		fmt.Fprintln(os.Stderr, "agent: power off:", err)
		os.Exit(1)
	}
}

// bootsFile counts the boots of this disk.
const bootsFile = "/var/lib/node-boots"

func countBoot() (int, error) {
	text, err := os.ReadFile(bootsFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("read count of boots: %w", err)
	}
	// The file has one byte for each boot.
	text = append(text, '.')
	if err := os.WriteFile(bootsFile, text, 0o644); err != nil {
		return 0, fmt.Errorf("write count of boots: %w", err)
	}
	return len(text), nil
}

func run() error {
	spec, err := readSpec()
	if err != nil {
		return err
	}
	if len(spec.Args) == 0 {
		err := shell(spec)
		// The shell has ended: nobody waits for a frame.
		if rebootErr := syscall.Reboot(syscall.LINUX_REBOOT_CMD_POWER_OFF); rebootErr != nil {
			return fmt.Errorf("power off: %w", rebootErr)
		}
		return err
	}
	boot, err := countBoot()
	if err != nil {
		return err
	}
	spec.Env = append(spec.Env, fmt.Sprintf("%s=%d", wire.BootEnv, boot))
	host, err := openHost()
	if err != nil {
		return err
	}
	return serve(host, spec)
}

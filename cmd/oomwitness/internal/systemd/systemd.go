// Package systemd asks the node's systemd for what an operator would type with
// systemctl.
package systemd

import (
	"context"
	"errors"
	"fmt"

	"github.com/coreos/go-systemd/v22/dbus"
)

// Manager is what is asked of a service manager. Each request is over when what it
// asks for is so.
type Manager interface {
	Reload(ctx context.Context) error
	Restart(ctx context.Context, unit string) error
	Stop(ctx context.Context, unit string) error
}

// Host is the systemd that has its private socket below this process's
// root: no D-Bus daemon is needed. systemctl won't do, since it hangs up on a peer
// that its own PID namespace does not know ("No data available"), as PID 1 is in a
// pod. systemd does what root asks for, whatever its capabilities: it takes those of a
// socket's peer from nowhere (sd_bus_query_sender_privilege).
type Host struct{}

// Reload has it read its unit files again.
func (Host) Reload(ctx context.Context) error {
	return withSystemd(ctx, "reload", func(c *dbus.Conn) error { return c.ReloadContext(ctx) })
}

// Restart comes back when the unit runs again.
func (Host) Restart(ctx context.Context, unit string) error {
	return systemdJob(ctx, "restart "+unit, func(c *dbus.Conn, done chan<- string) error {
		_, err := c.RestartUnitContext(ctx, unit, "replace", done)
		return err
	})
}

// Stop comes back when the unit has ended.
func (Host) Stop(ctx context.Context, unit string) error {
	return systemdJob(ctx, "stop "+unit, func(c *dbus.Conn, done chan<- string) error {
		_, err := c.StopUnitContext(ctx, unit, "replace", done)
		return err
	})
}

// systemdJob waits for the end of the job that start makes.
func systemdJob(ctx context.Context, what string, start func(*dbus.Conn, chan<- string) error) error {
	return withSystemd(ctx, what, func(c *dbus.Conn) error {
		done := make(chan string, 1) // the connection must not wait for us
		if err := start(c, done); err != nil {
			return err
		}
		select {
		case result := <-done:
			if result != "done" {
				return errors.New("the job ended as " + result)
			}
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
}

// withSystemd connects for one request.
func withSystemd(ctx context.Context, what string, request func(*dbus.Conn) error) error {
	conn, err := dbus.NewSystemdConnectionContext(ctx)
	if err != nil {
		return fmt.Errorf("systemd, to %s: %w", what, err)
	}
	defer conn.Close()
	if err := request(conn); err != nil {
		return fmt.Errorf("systemd: %s: %w", what, err)
	}
	return nil
}

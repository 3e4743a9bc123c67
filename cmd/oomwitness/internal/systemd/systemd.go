// Package systemd sends the node's systemd the requests that an operator makes by systemctl.
package systemd

import (
	"context"
	"errors"
	"fmt"

	"github.com/coreos/go-systemd/v22/dbus"
)

// Manager has the requests to a service manager. Each returns when the request is carried out.
type Manager interface {
	Reload(ctx context.Context) error
	Restart(ctx context.Context, unit string) error
	Stop(ctx context.Context, unit string) error
}

// Host is the systemd with a private socket below this process's root: no D-Bus daemon is
// needed. systemctl cannot be used: it disconnects from a peer that its own PID namespace does
// not know ("No data available"), and in a pod PID 1 of the host is such a peer. systemd
// accepts requests of root whatever root's capabilities are: it does not read the capabilities
// of a socket's peer (sd_bus_query_sender_privilege).
type Host struct{}

// Reload makes systemd read its unit files again.
func (Host) Reload(ctx context.Context) error {
	return withSystemd(ctx, "reload", func(c *dbus.Conn) error { return c.ReloadContext(ctx) })
}

// Restart returns when the unit runs again.
func (Host) Restart(ctx context.Context, unit string) error {
	return systemdJob(ctx, "restart "+unit, func(c *dbus.Conn, done chan<- string) error {
		_, err := c.RestartUnitContext(ctx, unit, "replace", done)
		return err
	})
}

// Stop returns when the unit has ended.
func (Host) Stop(ctx context.Context, unit string) error {
	return systemdJob(ctx, "stop "+unit, func(c *dbus.Conn, done chan<- string) error {
		_, err := c.StopUnitContext(ctx, unit, "replace", done)
		return err
	})
}

// systemdJob starts a job with start, and waits for the end of the job.
func systemdJob(ctx context.Context, what string, start func(*dbus.Conn, chan<- string) error) error {
	return withSystemd(ctx, what, func(c *dbus.Conn) error {
		done := make(chan string, 1) // the connection must not wait for this process
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

// withSystemd connects to systemd for one request.
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

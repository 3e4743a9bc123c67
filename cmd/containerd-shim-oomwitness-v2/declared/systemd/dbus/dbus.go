// Package dbus declares requests to systemd: see the package of godbus beside.
package dbus

import (
	"context"

	"github.com/godbus/dbus/v5"
)

// Conn is a connection to systemd.
type Conn struct{}

// NewWithContext connects to systemd.
func NewWithContext(ctx context.Context) (*Conn, error)

// Close ends the connection.
func (c *Conn) Close()

// GetManagerProperty returns a property of systemd.
func (c *Conn) GetManagerProperty(prop string) (string, error)

// ResetFailedUnitContext has systemd forget that a unit has failed.
func (c *Conn) ResetFailedUnitContext(ctx context.Context, name string) error

// StartTransientUnitContext starts a unit that has no file.
func (c *Conn) StartTransientUnitContext(ctx context.Context, name, mode string, properties []Property, ch chan<- string) (int, error)

// StopUnitContext stops a unit.
func (c *Conn) StopUnitContext(ctx context.Context, name, mode string, ch chan<- string) (int, error)

// Property is a property of a unit.
type Property struct {
	Name  string
	Value dbus.Variant
}

// PropDescription is the description of a unit.
func PropDescription(desc string) Property

// PropSlice is the slice that a unit is in.
func PropSlice(slice string) Property

// PropWants names the units that a unit wants.
func PropWants(units ...string) Property

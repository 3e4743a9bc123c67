// Package dbus stands in the place of github.com/godbus/dbus/v5 where the shim is linked (see
// modfile.sh). The package declares what containerd's cgroups need to compile their requests
// to systemd, which no shim sends: runc does.
package dbus

// Error is an answer of the bus that is an error.
type Error struct{ Name string }

// Error returns nothing that a shim reads.
func (e Error) Error() string

// Variant is a value with its type.
type Variant struct{}

// MakeVariant makes a Variant of a value.
func MakeVariant(v any) Variant

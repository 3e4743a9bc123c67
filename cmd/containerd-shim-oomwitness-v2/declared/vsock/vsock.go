// Package vsock stands in the place of github.com/mdlayher/vsock where the shim is linked (see
// modfile.sh). containerd's library can connect to a shim inside a virtual machine. The
// containers of runc are in none, and so this package has an error in the place of the
// connection.
package vsock

import (
	"fmt"
	"net"
)

// Config is upstream's, which has no fields.
type Config struct{}

// Dial returns an error.
func Dial(contextID, port uint32, _ *Config) (net.Conn, error) {
	return nil, fmt.Errorf("vsock address %d:%d: a shim of oomwitness is reached by a unix socket alone", contextID, port)
}

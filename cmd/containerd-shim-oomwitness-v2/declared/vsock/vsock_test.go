package vsock

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestDial: the error names the address.
func TestDial(t *testing.T) {
	conn, err := Dial(3, 1024, &Config{})
	require.Nil(t, conn)
	require.ErrorContains(t, err, "3:1024")
}

package cli_test

import (
	"bytes"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/why/cli"
)

// TestColumns: a terminal's width is its own, and any other output has 80 columns.
func TestColumns(t *testing.T) {
	require.Equal(t, 80, cli.Columns(&bytes.Buffer{}))
	file, err := os.Create(t.TempDir() + "/out")
	require.NoError(t, err)
	defer file.Close()
	require.Equal(t, 80, cli.Columns(file))
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("needs a pseudo-terminal: %v", err)
	}
	defer terminal.Close()
	for columns, want := range map[uint16]int{60: 60, 200: 200, 0: 80} {
		require.NoError(t, unix.IoctlSetWinsize(int(terminal.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns}))
		require.Equal(t, want, cli.Columns(terminal))
	}
}

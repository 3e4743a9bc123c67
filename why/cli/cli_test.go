package cli_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/why"
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

// TestPrint: what is wrong with a command line is one line; another error keeps its lines and
// its tabs. Neither has a character that a terminal takes as an order.
func TestPrint(t *testing.T) {
	for want, err := range map[string]error{
		"":                                   nil,
		"oomwitness: a; b\n":                 why.Usage(errors.Join(errors.New("a"), errors.New("b"))),
		"oomwitness: a\n\tb\n":               errors.New("a\n\tb"),
		"oomwitness: a\\u001b[31m \\xff é\n": errors.New("a\x1b[31m \xff é"),
	} {
		var out bytes.Buffer
		cli.Print(&out, "oomwitness", err)
		require.Equal(t, want, out.String())
	}
}

// TestPrintLong: of a value that is far too long the line has the beginning and the end.
func TestPrintLong(t *testing.T) {
	var out bytes.Buffer
	cli.Print(&out, "oomwitness", cli.OneOf("output", strings.Repeat("x", 1<<20), "json"))
	require.Less(t, out.Len(), 2100)
	require.Regexp(t, `^oomwitness: --output "x+…x+": allowed are json\n$`, out.String())
}

// TestUnreadable: the words say what is wrong with a file, without its name.
func TestUnreadable(t *testing.T) {
	for path, want := range map[string]string{"/": "is a directory: allowed is a file", "/nowhere": "no such file or directory"} {
		_, err := os.ReadFile(path)
		require.EqualError(t, cli.Unreadable(fmt.Errorf("read: %w", err), "list"), want)
	}
	require.EqualError(t, cli.Unreadable(errors.New("yaml: line 1"), "list"), "this file is no list")
}

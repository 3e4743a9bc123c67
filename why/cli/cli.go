// Package cli has what the command lines of the project share: exit statuses, and how wide
// a terminal is.
package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/oomwitness/oomwitness/why"
	"github.com/oomwitness/oomwitness/why/text"
)

// Status returns the exit status for an error. The errors of flags' values have no type:
// their texts begin with the flag, or with what --runtime-name names.
func Status(err error) int {
	if err == nil {
		return 0
	}
	said := err.Error()
	for _, usage := range []string{"--", "runtime name "} {
		if strings.HasPrefix(said, usage) {
			return why.StatusUsage
		}
	}
	return why.StatusOf(err)
}

// maxUsage is how many cells the line on a wrong command line takes.
const maxUsage = 2000

// Print writes an error, unless the output has said all. All that is wrong with a command
// line is one line. A terminal shows each line as it stands, whatever names an error has.
func Print(w io.Writer, program string, err error) {
	if err == nil || err.Error() == "" {
		return
	}
	said := err.Error()
	usage := Status(err) == why.StatusUsage
	if usage {
		said = strings.ReplaceAll(said, "\n", "; ")
	}
	for i, line := range strings.Split(said, "\n") {
		if i == 0 {
			line = program + ": " + line
		}
		cells := strings.Split(line, "\t") // which a terminal shows as they stand
		for i := range cells {
			cells[i] = text.Clean(cells[i])
		}
		line = strings.Join(cells, "\t")
		if usage { // of a value that is far too long, beginning and end are enough
			line = text.Cut(line, maxUsage)
		}
		fmt.Fprintln(w, line)
	}
}

// Columns returns how wide the terminal is that an output goes to, or the default.
func Columns(out io.Writer) int {
	if file, ok := out.(interface{ Fd() uintptr }); ok {
		if columns, _, err := term.GetSize(int(file.Fd())); err == nil && columns > 0 {
			return columns
		}
	}
	return text.DefaultColumns
}

// OneOf returns an error of a flag whose value is not allowed.
func OneOf(flag, value string, allowed ...string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	return fmt.Errorf("--%s %q: allowed are %s", flag, value, strings.Join(allowed, ", "))
}

// Unreadable returns in a few words why a file is not what it should be. err is the error of
// whoever has read and parsed the file.
func Unreadable(err error, what string) error {
	var failed *fs.PathError
	switch {
	case !errors.As(err, &failed):
		return fmt.Errorf("this file is no %s", what)
	case failed.Op == "read": // such as of a folder
		return fmt.Errorf("%w: allowed is a file", failed.Err)
	}
	return failed.Err
}

// CompleteOneOf has the shell complete a flag's values.
func CompleteOneOf(cmd *cobra.Command, flag string, values []string) {
	CompleteBy(cmd, flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}

// CompleteBy has the shell complete a flag by a function.
func CompleteBy(cmd *cobra.Command, flag string, by cobra.CompletionFunc) {
	if err := cmd.RegisterFlagCompletionFunc(flag, by); err != nil {
		panic(err) // the flag is not there
	}
}

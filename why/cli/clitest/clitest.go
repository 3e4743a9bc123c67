// Package clitest runs a command of the project as the program that it is, in the tests
// of its package main.
package clitest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/why"
)

// AsProgram is the variable of the environment that has a test's binary be the program.
const AsProgram = "OOMWITNESS_TEST_AS_PROGRAM"

// patience bounds a program: one that is not refused may go on for ever.
const patience = time.Minute

// Main is for TestMain: it runs the tests, or main where Run has started the binary.
func Main(m *testing.M, main func()) {
	if os.Getenv(AsProgram) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// Run runs the program, and returns its output and exit status.
func Run(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	return Output(t, Command(t, args...))
}

// Command returns the program as a command that a test can change. It is killed after a while.
func Command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, "/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), AsProgram+"=1")
	return cmd
}

// Piped has the program read a text from a pipe, as the shell's <(...) does, and returns the path.
func Piped(t *testing.T, cmd *exec.Cmd, text string) (path string) {
	t.Helper()
	reader, writer, err := os.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() { _ = reader.Close() })
	_, err = writer.WriteString(text) // which fits into the pipe
	require.NoError(t, err)
	require.NoError(t, writer.Close())
	cmd.ExtraFiles = append(cmd.ExtraFiles, reader)
	const first = 3 // behind stderr
	return fmt.Sprintf("/dev/fd/%d", first+len(cmd.ExtraFiles)-1)
}

// Output runs a command to its end, and returns its output and exit status.
func Output(t *testing.T, cmd *exec.Cmd) (stdout, stderr string, status int) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// Refused asserts for each row, a part of an error and then a wrong command line: there is
// no output, one line of error with that part, and the exit status of wrong command lines.
func Refused(t *testing.T, program string, rows [][]string) {
	t.Helper()
	for _, row := range rows {
		want, args := row[0], row[1:]
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			t.Parallel()
			out, errs, status := Run(t, args...)
			require.Equal(t, why.StatusUsage, status, errs)
			require.Empty(t, out)
			require.Equal(t, 1, strings.Count(errs, "\n"), errs)
			require.True(t, strings.HasPrefix(errs, program+": "), errs)
			require.Contains(t, errs, want)
			for _, word := range []string{"strconv", "parsing", "<nil>", "%!"} {
				require.NotContains(t, errs, word)
			}
		})
	}
}

// Unwritable asserts for each command line that an output without room is one line of error and
// the status of a failure, and that a reader who has gone is no error: SIGPIPE ends the program,
// as head expects.
func Unwritable(t *testing.T, program string, rows [][]string) {
	t.Helper()
	for _, args := range rows {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			t.Parallel()
			full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
			require.NoError(t, err)
			defer full.Close()
			errs, ended := into(t, full, args)
			require.Equal(t, program+": standard output: no space left on device\n", errs)
			require.Equal(t, why.StatusError, ended.ExitCode())

			reader, writer, err := os.Pipe()
			require.NoError(t, err)
			defer writer.Close()
			require.NoError(t, reader.Close())
			errs, ended = into(t, writer, args)
			require.Empty(t, errs)
			require.Equal(t, syscall.SIGPIPE, ended.Sys().(syscall.WaitStatus).Signal(), ended)
		})
	}
}

// into runs the program with an output, and returns its errors and its end.
func into(t *testing.T, stdout *os.File, args []string) (stderr string, ended *os.ProcessState) {
	t.Helper()
	var errs bytes.Buffer
	cmd := Command(t, args...)
	cmd.Stdout, cmd.Stderr = stdout, &errs
	if err := cmd.Run(); cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return errs.String(), cmd.ProcessState
}

// Documented asserts that a page names each field of the JSON form of values, as `field`.
func Documented(t *testing.T, page string, values ...any) {
	t.Helper()
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	seen := map[reflect.Type]bool{}
	for _, v := range values {
		documented(t, string(text), reflect.TypeOf(v), seen)
	}
}

func documented(t *testing.T, page string, of reflect.Type, seen map[reflect.Type]bool) {
	t.Helper()
	for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice {
		of = of.Elem()
	}
	if of.Kind() != reflect.Struct || of == reflect.TypeFor[time.Time]() || seen[of] {
		return
	}
	seen[of] = true
	for field := range of.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name != "" && name != "-" && !strings.Contains(page, "`"+name+"`") {
			t.Errorf("no page has the field %s of %v", name, of)
		}
		documented(t, page, field.Type, seen)
	}
}

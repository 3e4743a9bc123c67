package cli

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/oomwitness/oomwitness/why"
	"github.com/oomwitness/oomwitness/why/text"
)

// MarkUsage has each wrong command line end with why.StatusUsage, and with one line that
// has the name, the value and what is allowed. The tree of commands must be complete.
func MarkUsage(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return why.Usage(flagError(cmd, err)) })
	ofCompletion(root)
	mark(root)
	for _, cmd := range root.Commands() {
		if cmd.Name() == "help" {
			cmd.Args = helpTopic
		}
	}
}

// ofCompletion sets the project's error for arguments of the commands for completion, which are cobra's.
func ofCompletion(root *cobra.Command) {
	for _, cmd := range root.Commands() {
		if cmd.Name() != "completion" {
			continue
		}
		for _, shell := range cmd.Commands() {
			shell.Args = NoArgs
		}
	}
}

// mark marks a command and those below it. A command without a completion of its own has no
// argument that is a file, and so has a flag whose value is a number or a duration.
func mark(cmd *cobra.Command) {
	if cmd.ValidArgsFunction == nil {
		cmd.ValidArgsFunction = cobra.NoFileCompletions
	}
	cmd.LocalFlags().VisitAll(func(flag *pflag.Flag) {
		_, has := cmd.GetFlagCompletionFunc(flag.Name)
		if said := allowed[flag.Value.Type()]; said != "" && !has {
			CompleteBy(cmd, flag.Name, cobra.NoFileCompletions)
		}
	})
	if !cmd.Runnable() { // a group of commands
		cmd.Args, cmd.DisableFlagsInUseLine = cobra.ArbitraryArgs, true
		cmd.RunE = func(cmd *cobra.Command, list []string) error {
			if len(list) > 0 {
				return why.Usage(unknown(cmd, list[0]))
			}
			return cmd.Help()
		}
	} else if args := cmd.Args; args != nil {
		cmd.Args = func(cmd *cobra.Command, list []string) error {
			return why.Usage(errors.Join(exclusive(cmd), args(cmd, list)))
		}
	}
	for _, below := range cmd.Commands() {
		mark(below)
	}
}

// unknown is the error for a command that is not there.
func unknown(cmd *cobra.Command, name string) error {
	var names []string
	for _, below := range cmd.Commands() {
		if below.IsAvailableCommand() {
			names = append(names, below.Name())
		}
	}
	if len(names) == 0 {
		return fmt.Errorf("unknown command %q for %q: allowed are no commands there", name, cmd.CommandPath())
	}
	return fmt.Errorf("unknown command %q for %q: allowed are %s", name, cmd.CommandPath(), strings.Join(names, ", "))
}

// helpTopic wants the name of a command, or nothing.
func helpTopic(cmd *cobra.Command, list []string) error {
	found, rest, err := cmd.Root().Find(list)
	switch {
	case err != nil:
		return why.Usage(err)
	case len(rest) > 0:
		return why.Usage(unknown(found, rest[0]))
	}
	return nil
}

// NoArgs is cobra.NoArgs with the value and what is allowed in its error.
func NoArgs(cmd *cobra.Command, list []string) error {
	if len(list) > 0 {
		return fmt.Errorf("%s %q: allowed are no arguments", cmd.Name(), list[0])
	}
	return nil
}

// allSet finds in cobra's error the flags that exclude each other.
var allSet = regexp.MustCompile(`\[([a-z -]+)\] were all set$`)

// exclusive returns an error for flags that were set together and exclude each other
// (cobra's MarkFlagsMutuallyExclusive).
func exclusive(cmd *cobra.Command) error {
	err := cmd.ValidateFlagGroups()
	if err == nil {
		return nil
	}
	set := allSet.FindStringSubmatch(err.Error())
	if set == nil {
		return err
	}
	var flags []string
	for name := range strings.FieldsSeq(set[1]) {
		flags = append(flags, fmt.Sprintf("--%s %q", name, cmd.Flags().Lookup(name).Value))
	}
	return fmt.Errorf("%s: allowed is one of them", strings.Join(flags, " with "))
}

// allowed says by a flag's type which values the flag takes.
var allowed = map[string]string{
	"bool":     "allowed are true and false",
	"duration": "allowed is a duration, such as 90s, 30m, 24h or 1d",
	"int":      "allowed is a whole number",
	"float32":  "allowed is a number",
}

// flagError says what is wrong with a flag, with its name, its value and what is allowed.
func flagError(cmd *cobra.Command, err error) error {
	var value *pflag.InvalidValueError
	var empty *pflag.ValueRequiredError
	var missing *pflag.NotExistError
	switch {
	case errors.As(err, &value):
		flag := value.GetFlag()
		if said, ok := allowed[flag.Value.Type()]; ok {
			return fmt.Errorf("--%s %q: %s", flag.Name, value.GetValue(), said)
		}
		return fmt.Errorf("--%s %q: %w", flag.Name, value.GetValue(), errors.Unwrap(err))
	case errors.As(err, &empty):
		return fmt.Errorf("--%s: has no value, and needs one", empty.GetFlag().Name)
	case errors.As(err, &missing):
		return fmt.Errorf("%s: allowed are the flags of %q", text.Clean(err.Error()), cmd.CommandPath()+" --help")
	}
	return err
}

package cli

import (
	"encoding/json"
	"fmt"
	"runtime/debug"

	// Linked so that the build information names it: the shim is built from
	// the same go.mod.
	containerd "github.com/containerd/containerd/v2/version"
	"github.com/spf13/cobra"

	whycli "github.com/oomwitness/oomwitness/why/cli"
)

// version and commit are set at link time where the build information lacks them:
// -ldflags "-X github.com/oomwitness/oomwitness/cmd/oomwitness/internal/cli.version=v1.2.3"
var version, commit string

// build says what this binary was made from. Its JSON form is stable: fields
// are added, never changed.
type build struct {
	Version    string `json:"version"`
	Commit     string `json:"commit"`
	Go         string `json:"go"`
	Containerd string `json:"containerd"`
}

// buildOf reads the build information. What was set at link time wins.
func buildOf(info *debug.BuildInfo, version, commit string) build {
	b := build{Version: version, Commit: "unknown", Containerd: containerd.Version, Go: "unknown"}
	if info == nil {
		info = &debug.BuildInfo{}
	}
	if info.GoVersion != "" {
		b.Go = info.GoVersion
	}
	if b.Version == "" {
		b.Version = info.Main.Version
	}
	if b.Version == "" {
		b.Version = "unknown"
	}
	modified := false
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			b.Commit = setting.Value
		case "vcs.modified":
			modified = setting.Value == "true"
		}
	}
	if modified {
		b.Commit += " (modified)"
	}
	if commit != "" {
		b.Commit = commit
	}
	for _, dep := range info.Deps {
		if dep.Path == "github.com/containerd/containerd/v2" {
			b.Containerd = dep.Version
			if dep.Replace != nil {
				b.Containerd = dep.Replace.Path + " " + dep.Replace.Version
			}
		}
	}
	return b
}

// thisBuild is what this binary was made from.
func thisBuild() build {
	info, _ := debug.ReadBuildInfo()
	return buildOf(info, version, commit)
}

func newVersion() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Show the versions in this binary",
		Long: `Show the version and commit of this binary, the Go version, and the version of containerd's
shim code in this binary. "oomwitness check" shows the version of the node's containerd.`,
		Example: `  oomwitness version
  oomwitness version -o json`,
		Args: whycli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkOutput(output); err != nil {
				return err
			}
			b := thisBuild()
			if output == "json" {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(b)
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "oomwitness  %s\ncommit      %s\ngo          %s\ncontainerd  %s (linked)\n",
				b.Version, b.Commit, b.Go, b.Containerd)
			return err
		},
	}
	outputFlag(cmd, &output)
	return cmd
}

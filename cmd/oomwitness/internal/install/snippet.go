package install

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/containerd"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/criconf"
)

// Snippet returns the registration for a node whose files are made by others: as TOML for
// containerd, as a NodeConfig of EKS, which nodeadm merges into its configuration, or for
// cloud-init. The handler has the settings of the runc handler in the node's configuration.
func Snippet(ctx context.Context, o Options, what string) (string, error) {
	version, err := containerd.ParseVersion(cmp.Or(o.ContainerdVersion, "2.2"))
	if err != nil {
		return "", fmt.Errorf("--containerd-version: %w", err)
	}
	if err := errors.Join(version.Refused(), o.checkWords(), criconf.CheckHandler(o.Handler), checkPath("--bin-dir", o.BinDir)); err != nil {
		return "", err
	}
	dropin := criconf.Dropin{
		Version: min(version.ConfigVersion(), 3), Handler: o.Handler, Shim: o.shimPath(),
		ByType: !version.RuntimePath(), SystemdCgroup: o.SystemdCgroup != "false",
	}
	if o.ConfigVersion == "2" {
		dropin.Version = 2
	}
	var tables []byte
	from := ""
	if what == "toml" || what == "nodeconfig" { // cloud-init installs on the node itself
		if from, err = o.asRunc(ctx, version, &dropin); err == nil {
			tables, err = dropin.Tables()
		}
	}
	if err != nil {
		return "", err
	}
	switch what {
	case "toml":
		return fmt.Sprintf("# For a configuration of version %d.\n%s%s", dropin.Version, from, tables), nil
	case "nodeconfig":
		return fmt.Sprintf(`# Part of the node's user data. %s has to be on the node: in the AMI, or by the DaemonSet.
%sapiVersion: node.eks.aws/v1alpha1
kind: NodeConfig
spec:
  containerd:
    config: |
%s`, o.shimPath(), from, indented(string(tables), 6)), nil
	case "cloud-init":
		return fmt.Sprintf(`#cloud-config
# The image has the two programs of oomwitness in %s.
runcmd:
  - [%s]
`, o.BinDir, strings.Join(o.again(), ", ")), nil
	}
	return "", fmt.Errorf("--print %q: allowed are toml, nodeconfig and cloud-init", what)
}

// asRunc copies the settings of the node's runc handler to ours, as install does. from is a
// comment that says where they are from.
func (o Options) asRunc(ctx context.Context, version containerd.Version, dropin *criconf.Dropin) (from string, err error) {
	o, _ = o.Locate(ctx) // without a containerd its files are where they usually are
	config, err := criconf.Load(o.Root, o.MainConfig, o.dropinPath())
	if err != nil {
		return "", fmt.Errorf("settings of the runc handler: %w", err)
	}
	if !version.Dropins() {
		config = config.Legacy().Config
	}
	dropin.Runc = config.Runc()
	if systemd, set := config.SystemdCgroup(); set && o.SystemdCgroup == "auto" {
		dropin.SystemdCgroup = systemd
	}
	if lost := dropin.Lost(); len(lost) > 0 {
		return "", lostError(version, o.MainConfig, lost)
	}
	if dropin.Runc == nil {
		return fmt.Sprintf("# No runc handler is in %s: print this on a node that has one, or add the settings of that handler.\n", o.MainConfig), nil
	}
	return fmt.Sprintf("# With the settings of the runc handler in %s.\n", o.MainConfig), nil
}

// again returns the command that installs with these options, as words of YAML.
func (o Options) again() []string {
	words := []string{yamlWord(o.commandPath()), "install", "--edit-config", "--restart-containerd"}
	for _, flag := range []struct{ name, value, usual string }{
		{"--bin-dir", o.BinDir, ""}, {"--runtime-name", o.Handler, ""}, {"--conf-dir", o.ConfDir, ""},
		{"--containerd-config", o.MainConfig, ""}, {"--address", o.Address, ""}, {"--containerd-unit", o.Unit, ""},
		{"--containerd-version", o.ContainerdVersion, ""}, {"--config-version", o.ConfigVersion, "auto"},
		{"--systemd-cgroup", o.SystemdCgroup, "auto"}, {"--systemd-unit", o.SystemdUnit, "auto"},
	} {
		if flag.value != flag.usual {
			words = append(words, flag.name, yamlWord(flag.value))
		}
	}
	if o.Agent {
		words = append(words, "--agent")
	}
	return words
}

// plainWord matches a word that is a string in YAML without quotes.
var plainWord = regexp.MustCompile(`^[a-z/][a-zA-Z0-9/._+-]*[a-zA-Z][a-zA-Z0-9/._+-]*$`)

// notStrings are words that are no strings in YAML without quotes.
var notStrings = []string{"true", "false", "null", "yes", "no", "on", "off", "y", "n"}

// yamlWord returns a word for a list in YAML, in quotes if it needs them.
func yamlWord(word string) string {
	if plainWord.MatchString(word) && !slices.Contains(notStrings, word) {
		return word
	}
	quoted, _ := json.Marshal(word) // a string can be marshaled
	return string(quoted)
}

// indented adds spaces to the begin of every line that is not empty.
func indented(text string, by int) string {
	lines := strings.SplitAfter(text, "\n")
	for n, line := range lines {
		if strings.TrimSpace(line) != "" {
			lines[n] = strings.Repeat(" ", by) + line
		}
	}
	return strings.Join(lines, "")
}

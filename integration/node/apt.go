//go:build linux

package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// debianKeyring has the keys of all suites; the package debian-archive-keyring.
const debianKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// Environment variables that name the mirrors on machines whose own apt does
// not use Debian's.
const (
	mirrorEnv         = "OOMWITNESS_DEBIAN_MIRROR"
	securityMirrorEnv = "OOMWITNESS_DEBIAN_SECURITY_MIRROR"
)

// errNoMirror reports a machine whose apt names no mirror of Debian.
var errNoMirror = errors.New("apt has no Debian mirror: set " + mirrorEnv)

// mirrors are the addresses of Debian's packages.
type mirrors struct {
	main     string
	security string // empty if the machine has none
}

// machineMirrors reads the mirrors from the environment, or from the
// machine's apt configuration.
func machineMirrors(ctx context.Context) (mirrors, error) {
	if uri := os.Getenv(mirrorEnv); uri != "" {
		return mirrors{main: uri, security: os.Getenv(securityMirrorEnv)}, nil
	}
	release, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return mirrors{}, fmt.Errorf("read os-release: %w", err)
	}
	if !strings.Contains("\n"+string(release), "\nID=debian\n") {
		return mirrors{}, errNoMirror
	}
	targets, err := output(ctx, "", nil, "apt-get", "indextargets",
		"--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Identifier: Packages")
	if err != nil {
		return mirrors{}, err
	}
	return parseMirrors(targets)
}

// parseMirrors picks the mirrors from lines of URI, suite and component. Only
// Debian's own suites can come from Debian's mirror, and its security mirror
// is the one with suites named -security.
func parseMirrors(targets string) (mirrors, error) {
	var found mirrors
	for line := range strings.Lines(targets) {
		fields := strings.Fields(line)
		if len(fields) != 3 || fields[2] != "main" {
			continue
		}
		uri, suite := fields[0], fields[1]
		switch {
		case strings.HasSuffix(suite, "-security"):
			if found.security == "" {
				found.security = uri
			}
		case strings.HasSuffix(suite, "-updates") || debianSuite(suite):
			if found.main == "" {
				found.main = uri
			}
		}
	}
	if found.main == "" {
		return found, errNoMirror
	}
	return found, nil
}

func debianSuite(suite string) bool {
	switch suite {
	case "bullseye", "bookworm", "trixie", "forky", "sid",
		"oldoldstable", "oldstable", "stable", "testing", "unstable":
		return true
	}
	return false
}

// aptSources is a sources file for the suite. Suites still in development
// have no security suite of their own.
func aptSources(m mirrors, suite string) string {
	stanza := func(uri string, suites ...string) string {
		return fmt.Sprintf("Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n",
			uri, strings.Join(suites, " "), debianKeyring)
	}
	text := stanza(m.main, suite)
	if m.security != "" && suite != "forky" && suite != "sid" {
		text += "\n" + stanza(m.security, strings.TrimSuffix(suite, "-backports")+"-security")
	}
	return text
}

// apt is a private apt for one suite: its own sources and lists, but the
// machine's proxies and options.
type apt struct {
	dir     string
	sources string // path of the sources file
	options []string
}

// newApt writes the private configuration below the cache folder.
func (c Config) newApt(ctx context.Context, suite string) (*apt, error) {
	m, err := machineMirrors(ctx)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(c.archCache(), "apt", suite)
	if err := os.RemoveAll(filepath.Join(dir, "download")); err != nil {
		return nil, fmt.Errorf("clear downloads: %w", err)
	}
	for _, sub := range []string{"state/lists/partial", "cache/archives/partial", "download"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, fmt.Errorf("make apt folder: %w", err)
		}
	}
	a := &apt{dir: dir, sources: filepath.Join(dir, "debian.sources")}
	if err := os.WriteFile(a.sources, []byte(aptSources(m, suite)), 0o644); err != nil {
		return nil, fmt.Errorf("write apt sources: %w", err)
	}
	status := filepath.Join(dir, "status")
	if err := os.WriteFile(status, nil, 0o644); err != nil {
		return nil, fmt.Errorf("write apt status: %w", err)
	}
	for name, value := range map[string]string{
		"Dir::Etc::SourceList":  a.sources,
		"Dir::Etc::SourceParts": "/dev/null",
		"Dir::Etc::Preferences": "/dev/null", "Dir::Etc::PreferencesParts": "/dev/null",
		"Dir::State": filepath.Join(dir, "state"), "Dir::State::Status": status,
		"Dir::Cache":         filepath.Join(dir, "cache"),
		"APT::Architecture":  string(c.platform().arch),
		"APT::Architectures": string(c.platform().arch),
		"APT::Sandbox::User": "root",
	} {
		a.options = append(a.options, "-o", name+"="+value)
	}
	return a, nil
}

// download returns the files of packages, each given as apt-get takes it.
func (a *apt) download(ctx context.Context, packages ...string) ([]string, error) {
	if _, err := a.run(ctx, "apt-get", append([]string{"download"}, packages...)...); err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(a.dir, "download", "*.deb"))
	if err != nil || len(files) != len(packages) {
		return nil, fmt.Errorf("%d packages arrived of %d: %w", len(files), len(packages), errors.Join(err, os.ErrNotExist))
	}
	return files, nil
}

// run runs one of apt's programs, in the download folder.
func (a *apt) run(ctx context.Context, program string, args ...string) (string, error) {
	return output(ctx, filepath.Join(a.dir, "download"), nil, program, append(a.options, args...)...)
}

package cgroups

import (
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"syscall"
	"unicode"

	"sigs.k8s.io/yaml"
)

// DefaultRoots are kubelet's default for --cgroup-root, and what kind gives it.
var DefaultRoots = []string{"/", "/kubelet"}

// Roots are the values that kubelet's --cgroup-root may have, and where they are from.
type Roots struct {
	Paths  []string
	Source Source
}

// Source is where Roots are from.
type Source string

// The sources, the first that has a value is taken.
const (
	FromFlag    Source = "flag"
	FromOwnPod  Source = "own pod"
	FromConfig  Source = "kubelet configuration"
	FromDefault Source = "default"
)

// RootOptions say where LearnRoots looks.
type RootOptions struct {
	// Given are the values of the flag, which wins; empty to learn them.
	Given []string
	// Mount is where the hierarchy that memory is on is mounted, "" for nowhere. PodUID is
	// the UID of this process's own pod, "" for none.
	Mount, PodUID string
	// Config is kubelet's configuration file, "" for none. It need not be there.
	Config string
}

// LearnRoots returns the Roots of the first source that has them: the flag, the cgroup of
// this process's own pod, kubelet's configuration, the default. refused receives why a
// source that is there was not believed. CheckRoots has passed the flag's.
func LearnRoots(o RootOptions, refused func(error)) Roots {
	if len(o.Given) > 0 {
		return Roots{o.Given, FromFlag}
	}
	for _, learn := range []struct {
		from Source
		root func() (string, error)
	}{
		{FromOwnPod, func() (string, error) { return ownRoot(o.Mount, o.PodUID, os.Getpid()) }},
		{FromConfig, func() (string, error) { return configuredRoot(o.Config) }},
	} {
		switch root, err := learn.root(); {
		case err != nil:
			refused(fmt.Errorf("kubelet's cgroup root by %s: %w", learn.from, err))
		case root != "":
			return Roots{[]string{root}, learn.from}
		}
	}
	return Roots{DefaultRoots, FromDefault}
}

// CheckRoots returns an error unless all are absolute paths, clean and printable.
func CheckRoots(roots []string) error {
	for _, root := range roots {
		if !path.IsAbs(root) || path.Clean(root) != root || strings.ContainsFunc(root, func(r rune) bool { return !unicode.IsPrint(r) }) {
			return fmt.Errorf("%q: has to be an absolute path without a slash at its end, such as / or /kubelet", root)
		}
	}
	return nil
}

// maxConfig bounds kubelet's configuration, in bytes.
const maxConfig = 1 << 20

// configuredRoot returns cgroupRoot of kubelet's configuration file, "" where there is no
// file, or the file has no cgroupRoot: kubelet's command line may have one then. The file
// has to be root's alone.
func configuredRoot(name string) (string, error) {
	if name == "" {
		return "", nil
	}
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO would have no writer
	if os.IsNotExist(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() || st.Uid != 0 || info.Mode().Perm()&0o022 != 0 {
		return "", fmt.Errorf("%s: mode %v: has to be a regular file of root that nobody else can write", name, info.Mode())
	}
	data, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return "", err
	}
	root, err := parseConfig(data)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return root, nil
}

// parseConfig reads cgroupRoot of a KubeletConfiguration in YAML or JSON.
func parseConfig(data []byte) (string, error) {
	if len(data) > maxConfig {
		return "", fmt.Errorf("more than %d bytes", maxConfig)
	}
	var config struct {
		Kind       string `json:"kind"`
		CgroupRoot string `json:"cgroupRoot"`
	}
	if err := yaml.Unmarshal(data, &config); err != nil {
		return "", err
	}
	if config.Kind != "KubeletConfiguration" {
		return "", fmt.Errorf("kind %q: has to be KubeletConfiguration", config.Kind)
	}
	if config.CgroupRoot == "" {
		return "", nil
	}
	if err := CheckRoots([]string{config.CgroupRoot}); err != nil {
		return "", fmt.Errorf("cgroupRoot %w", err)
	}
	return config.CgroupRoot, nil
}

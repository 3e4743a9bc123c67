//go:build linux

package bundle

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// SpecFile is the OCI spec in a bundle.
const SpecFile = "config.json"

// Spec is the part of an OCI spec that the shim reads. The whole of specs.Linux would
// keep tens of kilobytes alive.
type Spec struct {
	Annotations map[string]string
	// CgroupsPath and Namespaces are zero where upstream will refuse the member linux.
	CgroupsPath string
	Namespaces  []specs.LinuxNamespace
}

// ReadSpec reads the OCI spec in a bundle.
func ReadSpec(dir string) (Spec, error) {
	f, err := os.Open(filepath.Join(dir, SpecFile))
	if err != nil {
		return Spec{}, err
	}
	defer f.Close()
	sp, err := ParseSpec(f)
	if err != nil {
		return Spec{}, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return sp, nil
}

// ParseSpec reads an OCI spec.
func ParseSpec(r io.Reader) (Spec, error) {
	var whole struct {
		Annotations map[string]string `json:"annotations"`
		Linux       json.RawMessage   `json:"linux"`
	}
	if err := json.NewDecoder(r).Decode(&whole); err != nil {
		return Spec{}, err
	}
	var linux struct {
		CgroupsPath string                 `json:"cgroupsPath"`
		Namespaces  []specs.LinuxNamespace `json:"namespaces"`
	}
	sp := Spec{Annotations: whole.Annotations}
	if json.Unmarshal(whole.Linux, &linux) == nil {
		sp.CgroupsPath, sp.Namespaces = linux.CgroupsPath, linux.Namespaces
	}
	return sp, nil
}

// OwnPids reports whether the container is made with a PID namespace of its own, none
// of whose processes outlives init.
func (sp Spec) OwnPids() bool {
	for _, ns := range sp.Namespaces {
		if ns.Type == specs.PIDNamespace {
			return ns.Path == ""
		}
	}
	return false
}

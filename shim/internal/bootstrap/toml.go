//go:build linux

package bootstrap

import (
	"bytes"
	"fmt"

	runcoptions "github.com/containerd/containerd/api/types/runc/options"
	"github.com/pelletier/go-toml/v2"

	"github.com/oomwitness/oomwitness/shim/config"
)

// allowedKeys are the keys that an error names.
const allowedKeys = "BinaryName, Root, SystemdCgroup, NoPivotRoot, NoNewKeyring, ShimCgroup, IoUid, IoGid, CriuImagePath, CriuWorkPath"

// table has the keys of a runc handler's options, as containerd's CRI plugin
// names them: the Go fields of containerd.runc.v1.Options, in any case.
type table struct {
	BinaryName, Root, ShimCgroup, CriuImagePath, CriuWorkPath string
	NoPivotRoot, NoNewKeyring                                 bool
	SystemdCgroup                                             *bool
	IoUid, IoGid                                              uint32
}

// document is a table with the keys that stand beside runc's. TypeUrl and
// ConfigPath are the generic options' own. containerd 1.x writes CriuPath, and
// 2.0 to 2.4 write the TaskApi keys, into every default configuration, without a
// value; runc's options have no use for one.
type document struct {
	table
	TypeUrl, ConfigPath      string
	CriuPath, TaskApiAddress string
	TaskApiVersion           uint32
}

// parseTOML reads runc's options. Its errors begin with the line and name the key.
func parseTOML(text []byte) (table, error) {
	var d document
	if err := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields().Decode(&d); err != nil {
		return table{}, config.Explain(err, allowedKeys)
	}
	for key, set := range map[string]bool{
		"CriuPath": d.CriuPath != "", "TaskApiAddress": d.TaskApiAddress != "", "TaskApiVersion": d.TaskApiVersion != 0,
	} {
		if set {
			return table{}, fmt.Errorf("1: %s: no such option; allowed: %s", key, allowedKeys)
		}
	}
	return d.table, nil
}

// runc returns the options in runc's own form.
func (t table) runc() *runcoptions.Options {
	return &runcoptions.Options{
		NoPivotRoot: t.NoPivotRoot, NoNewKeyring: t.NoNewKeyring, ShimCgroup: t.ShimCgroup,
		IoUid: t.IoUid, IoGid: t.IoGid, BinaryName: t.BinaryName, Root: t.Root,
		SystemdCgroup: t.SystemdCgroup != nil && *t.SystemdCgroup,
		CriuImagePath: t.CriuImagePath, CriuWorkPath: t.CriuWorkPath,
	}
}

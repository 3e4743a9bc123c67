//go:build linux

package bootstrap

import (
	"fmt"

	runcoptions "github.com/containerd/containerd/api/types/runc/options"

	"github.com/oomwitness/oomwitness/shim/internal/flat"
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

// parseTOML reads runc's options. Its errors begin with the line and name the key.
//
// Some keys stand beside runc's. TypeUrl and ConfigPath are the generic options' own.
// containerd 1.x writes CriuPath, and 2.0 to 2.4 write the TaskApi keys, into every
// default configuration, without a value; runc's options have no use for one.
func parseTOML(text []byte) (table, error) {
	var t table
	var systemd bool
	var ignored, criuPath, taskAddress string
	var taskVersion uint32
	lines, err := flat.Decode(text, allowedKeys, map[string]any{
		"BinaryName": &t.BinaryName, "Root": &t.Root, "SystemdCgroup": &systemd,
		"NoPivotRoot": &t.NoPivotRoot, "NoNewKeyring": &t.NoNewKeyring, "ShimCgroup": &t.ShimCgroup,
		"IoUid": &t.IoUid, "IoGid": &t.IoGid, "CriuImagePath": &t.CriuImagePath, "CriuWorkPath": &t.CriuWorkPath,
		"TypeUrl": &ignored, "ConfigPath": &ignored,
		"CriuPath": &criuPath, "TaskApiAddress": &taskAddress, "TaskApiVersion": &taskVersion,
	})
	if err != nil {
		return table{}, err
	}
	for key, used := range map[string]bool{
		"CriuPath": criuPath != "", "TaskApiAddress": taskAddress != "", "TaskApiVersion": taskVersion != 0,
	} {
		if used {
			return table{}, fmt.Errorf("%d: %s: no such option; allowed: %s", lines[key], key, allowedKeys)
		}
	}
	if lines["SystemdCgroup"] != 0 {
		t.SystemdCgroup = &systemd
	}
	return t, nil
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

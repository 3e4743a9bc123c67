// Package ebpf stands in the place of github.com/cilium/ebpf where the shim is linked (see
// modfile.sh). The package declares what containerd's cgroups need to compile the device
// filter of cgroup2, which no shim runs: runc sets the devices. The whole module would be
// an eighth of the shim, because its initialisers refer to what loads programs.
//
// No function has a body, and so a shim that can call one does not link: a version of
// containerd that runs the filter in the shim is found when the shim is built.
package ebpf

import "github.com/cilium/ebpf/asm"

// ProgramType is the kernel's type of a program.
type ProgramType uint32

// AttachType is where a program is attached.
type AttachType uint32

// The types of a device filter (include/uapi/linux/bpf.h).
const (
	CGroupDevice       ProgramType = 15
	AttachCGroupDevice AttachType  = 6
)

// ProgramSpec is what a program is made from.
type ProgramSpec struct {
	Type         ProgramType
	Instructions asm.Instructions
	License      string
}

// Program is a loaded program.
type Program struct{}

// NewProgram loads a program.
func NewProgram(*ProgramSpec) (*Program, error)

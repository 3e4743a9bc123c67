// Package link declares how a device filter is attached: see package ebpf.
package link

import "github.com/cilium/ebpf"

// RawAttachProgramOptions are the options of RawAttachProgram.
type RawAttachProgramOptions struct {
	Target  int
	Program *ebpf.Program
	Attach  ebpf.AttachType
	Flags   uint32
}

// RawAttachProgram attaches a program.
func RawAttachProgram(RawAttachProgramOptions) error

// RawDetachProgramOptions are the options of RawDetachProgram.
type RawDetachProgramOptions struct {
	Target  int
	Program *ebpf.Program
	Attach  ebpf.AttachType
}

// RawDetachProgram detaches a program.
func RawDetachProgram(RawDetachProgramOptions) error

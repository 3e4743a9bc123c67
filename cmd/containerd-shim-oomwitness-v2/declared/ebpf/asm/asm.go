// Package asm declares the instructions of a device filter: see package ebpf.
package asm

type (
	// Register is one of the machine's.
	Register uint8
	// Size is that of a load.
	Size uint8
	// JumpOp is a jump.
	JumpOp uint8
	// ALUOp is an arithmetic operation.
	ALUOp uint16
	// Instruction is one instruction.
	Instruction struct{}
	// Instructions are a program.
	Instructions []Instruction
)

// The registers.
const (
	R0 Register = iota
	R1
	R2
	R3
	R4
	R5
)

// What a device filter has of the machine. The numbers have no meaning.
const (
	Half Size = iota
	Word

	JEq JumpOp = iota
	JNE

	And ALUOp = iota
	Mov
	RSh
)

// LoadMem loads from memory.
func LoadMem(dst, src Register, offset int16, size Size) Instruction

// Return ends the program.
func Return() Instruction

// Imm jumps to a label.
func (op JumpOp) Imm(dst Register, value int32, label string) Instruction

// Imm32 has a number as its operand.
func (op ALUOp) Imm32(dst Register, value int32) Instruction

// Reg32 has a register as its operand.
func (op ALUOp) Reg32(dst, src Register) Instruction

// WithSymbol names the instruction.
func (ins Instruction) WithSymbol(name string) Instruction

//go:build linux

package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/oomwitness/oomwitness/integration/guest/wire"
)

// portFD is the descriptor of the agent's port in QEMU: the first after the
// standard ones.
const portFD = 3

// disk is a disk of the guest; the initramfs finds it by its serial number.
type disk struct {
	serial string
	image  string
}

// vm is one virtual machine to start.
type vm struct {
	platform  platform
	kernel    string
	initramfs string
	accel     string
	memory    int // MiB
	second    int // MiB of memory in a second NUMA node
	disks     []disk
	append    []string // to the kernel's command line
	console   string   // file of the console; empty for the terminal
	port      bool     // has the agent's port
	reboots   bool     // starts again when the guest reboots, instead of ending
}

// commandLine returns the kernel's command line.
func (v vm) commandLine() string {
	words := append(slices.Clone(v.platform.words), "panic=-1", "quiet", "loglevel=4", "mitigations=off",
		"random.trust_cpu=on", "systemd.unified_cgroup_hierarchy=1", "systemd.show_status=0")
	if v.accel == AccelTCG && v.platform.arch == AMD64 {
		// The counters of emulated CPUs are the host's, but the kernel takes them for
		// unsynchronised and uses the HPET, which is slow.
		words = append(words, "tsc=reliable")
	}
	return strings.Join(append(words, v.append...), " ")
}

// args returns QEMU's arguments. Writes to disks go to snapshots, which are in TMPDIR and
// vanish with the process.
func (v vm) args() []string {
	cpu, accel := v.platform.cpu, "tcg,thread=multi"
	if v.accel == AccelKVM {
		cpu, accel = "host", "kvm"
	}
	args := []string{
		"-machine", v.platform.machine, "-accel", accel, "-cpu", cpu, "-smp", "2", "-m", strconv.Itoa(v.memory),
		"-nodefaults", "-no-user-config", "-display", "none",
		"-kernel", v.kernel, "-initrd", v.initramfs, "-append", v.commandLine(),
		"-device", "virtio-rng-pci",
	}
	if !v.reboots {
		args = append(args, "-no-reboot")
	}
	if v.console == "" {
		args = append(args, "-chardev", "stdio,id=console,signal=off,mux=on", "-mon", "chardev=console")
	} else {
		args = append(args, "-chardev", "file,id=console,path="+escape(v.console))
	}
	args = append(args, "-serial", "chardev:console")
	args = append(args, v.numa()...)
	for _, d := range v.disks {
		args = append(args,
			"-drive", "if=none,format=raw,snapshot=on,cache=unsafe,id="+d.serial+",file="+escape(d.image),
			"-device", "virtio-blk-pci,drive="+d.serial+",serial="+d.serial)
	}
	if v.port {
		args = append(args, "-device", "virtio-serial-pci",
			"-chardev", "socket,id=agent,fd="+strconv.Itoa(portFD),
			"-device", "virtserialport,chardev=agent,name="+wire.PortName)
	}
	return args
}

// numa returns the arguments that split the machine's memory into two NUMA nodes: a cpuset or a
// memory policy can then be out of memory while the machine is not. Debian's cloud kernels have
// no numa=fake. The CPUs belong to the first node.
func (v vm) numa() []string {
	if v.second == 0 {
		return nil
	}
	first := v.memory - v.second
	return []string{
		"-object", fmt.Sprintf("memory-backend-ram,id=ram0,size=%dM", first),
		"-object", fmt.Sprintf("memory-backend-ram,id=ram1,size=%dM", v.second),
		"-numa", "node,nodeid=0,cpus=0-1,memdev=ram0", "-numa", "node,nodeid=1,memdev=ram1",
	}
}

// escape escapes a value for QEMU's option parser.
func escape(value string) string { return strings.ReplaceAll(value, ",", ",,") }

// command returns the QEMU command. QEMU is killed with this process. Temporary files go to
// dir.
func (v vm) command(ctx context.Context, dir string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, v.platform.qemu, v.args()...)
	cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// abandonTime is the time in which a killed QEMU must end. If hardware virtualisation hangs,
// QEMU may never end, and is left behind.
const abandonTime = 5 * time.Second

// process is a QEMU with the agent's port.
type process struct {
	port *os.File // ends when QEMU does
	kill func()
	done chan struct{}
}

// start starts QEMU, and ends it with the context. QEMU's own messages go to qemu.log in dir.
func start(ctx context.Context, v vm, dir string) (p *process, err error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	log, err := os.Create(filepath.Join(dir, "qemu.log"))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make qemu log: %w", err), ours.Close())
	}
	defer log.Close()
	ctx, kill := context.WithCancel(ctx)
	cmd := v.command(ctx, dir)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{theirs}
	if err := cmd.Start(); err != nil {
		kill()
		return nil, errors.Join(fmt.Errorf("start qemu: %w", err), ours.Close())
	}
	// The reader must end even if QEMU cannot be killed.
	context.AfterFunc(ctx, func() { _ = ours.SetReadDeadline(time.Now().Add(abandonTime)) })
	p = &process{port: ours, kill: kill, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		// QEMU is always killed in the end, so that its status means nothing.
		_ = cmd.Wait()
	}()
	return p, nil
}

// end kills QEMU. Its disks are snapshots: nothing is lost.
func (p *process) end() error {
	p.kill()
	select {
	case <-p.done:
	case <-time.After(abandonTime):
	}
	return p.port.Close()
}

// socketPair makes the two ends of the agent's port.
func socketPair() (ours, theirs *os.File, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make port: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "agent port"), os.NewFile(uintptr(fds[1]), "qemu port"), nil
}

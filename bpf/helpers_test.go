package bpf_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/bpf"
)

func init() {
	if name := os.Getenv(helperEnv); name == "leaderless" || name == "ending" {
		runtime.LockOSThread() // the main goroutine stays on the main thread
	}
}

// runHelper is what a re-executed test binary does, and its exit status.
func runHelper(name string, args []string) int {
	switch name {
	case "sharer":
		waitForByte()
		go vforkAndWait()
		waitForStdin()
		eat()
	case "ending":
		waitForByte()
		go vforkAndWait()
		waitForStdin()
		os.Exit(3)
	case "leaderless":
		waitForByte()
		go func() {
			waitForStdin()
			eat()
		}()
		// Ends this thread alone, the leader's.
		_, _, _ = syscall.Syscall(syscall.SYS_EXIT, 0, 0, 0)
	case "sized":
		if err := size(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 2
		}
		waitForStdin()
		eat()
	case "bound":
		if err := bindToSecondNode(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 2
		}
		waitForStdin()
		eat()
	case "node":
		return helpNode(args)
	case "open":
		return helpOpen(args)
	case "load":
		return helpLoad(args)
	}
	fmt.Fprintln(os.Stderr, "no helper", name)
	return 2
}

// waitForByte waits until the test has put this process into its cgroup.
func waitForByte() { _, _ = os.Stdin.Read(make([]byte, 1)) }

func waitForStdin() { _, _ = io.Copy(io.Discard, os.Stdin) }

// eat takes memory until the process is killed.
func eat() {
	for {
		mem, err := unix.Mmap(-1, 0, 1<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
		if err != nil {
			os.Exit(3)
		}
		for i := 0; i < len(mem); i += 4096 {
			mem[i] = 1
		}
	}
}

// What the helper "sized" has of each kind of memory, and whose it is.
const (
	sizedUID   = 65533
	sizedShmem = 4 << 20
	sizedFile  = 2 << 20
)

func size() error {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	file, err := unix.Mmap(int(self.Fd()), 0, sizedFile, unix.PROT_READ, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return err
	}
	shmem, err := unix.Mmap(-1, 0, sizedShmem, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANON|unix.MAP_POPULATE)
	if err != nil {
		return err
	}
	shmem[0] = file[0]
	return syscall.Setuid(sizedUID) // of all threads
}

// vforkAndWait makes a child that shares this process's memory and only waits.
// The thread never comes back: the kernel holds it until the child has ended.
// Garbage collection is off, which would wait for it.
//
//go:norace
func vforkAndWait() {
	runtime.LockOSThread()
	pid, _, _ := syscall.RawSyscall(syscall.SYS_CLONE, unix.CLONE_VM|unix.CLONE_VFORK|uintptr(unix.SIGCHLD), 0, 0)
	for pid == 0 {
		_, _, _ = syscall.RawSyscall6(unix.SYS_PPOLL, 0, 0, 0, 0, 0, 0)
	}
}

// noBPFFSEnv takes the BPF filesystem away from a loader, in a mount namespace
// of its own.
const noBPFFSEnv = "BPF_TEST_NO_BPFFS"

func withoutBPFFS() error {
	if os.Getenv(noBPFFSEnv) == "" {
		return nil
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil { // of this thread
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	for {
		if err := unix.Unmount(filepath.Dir(bpf.DefaultDir), unix.MNT_DETACH); err == unix.EINVAL {
			return nil // not mounted
		} else if err != nil {
			return err
		}
	}
}

// memlockEnv lowers a loader's RLIMIT_MEMLOCK to so many bytes.
const memlockEnv = "BPF_TEST_MEMLOCK"

// listSteps is the STEP of a loader that prints all and runs on.
const listSteps = "all"

// loaderWait is how long a loader waits for those before it, each of which takes 10 s
// in an emulated guest.
const loaderWait = 2 * time.Minute

// helpLoad loads a ledger: DIR LOCKDIR TIER ABI VERSION CAPS [STEP], where CAPS
// are the numbers of the capabilities to give up first, and STEP is the step after
// which to die, see dieAt. With STEP it does not wait for events under way.
func helpLoad(args []string) int {
	runtime.LockOSThread()
	tier, err := bpf.ParseTier(args[2])
	if err != nil {
		return 2
	}
	abi, _ := strconv.ParseUint(args[3], 10, 32)
	version, _ := strconv.ParseUint(args[4], 10, 32)
	if err := errors.Join(withoutBPFFS(), dropCaps(args[5])); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	o := bpf.Options{Dir: args[0], LockDir: args[1], Tier: tier, Wait: loaderWait}.As(uint32(abi), uint32(version))
	if limit, err := strconv.ParseUint(os.Getenv(memlockEnv), 10, 64); err == nil {
		if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 2
		}
	}
	if len(args) > 6 {
		dieAt(args[6])
		o = o.Quick()
	}
	st, err := bpf.Load(o)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	if len(args) <= 6 {
		fmt.Println(st.Tier, st.Loaded)
	}
	return 0
}

// helpOpen opens the ledger in DIR with the capabilities CAPS given up, or as
// another user, and looks something up.
func helpOpen(args []string) int {
	runtime.LockOSThread()
	var err error
	if args[1] == "nobody" {
		_, _, errno := syscall.RawSyscall(syscall.SYS_SETUID, 65534, 0, 0)
		if errno != 0 {
			err = errno
		}
	} else {
		err = dropCaps(args[1])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	l, err := bpf.Open(args[0])
	if err == nil {
		_, _, err = l.Task(1, 1)
	}
	if err != nil {
		fmt.Println(errors.Is(err, bpf.ErrPermission), err)
		return 1
	}
	return 0
}

func dropCaps(list string) error {
	if list == "" {
		return nil
	}
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return err
	}
	for s := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(s)
		if err != nil {
			return err
		}
		data[n/32].Effective &^= 1 << (n % 32)
		data[n/32].Permitted &^= 1 << (n % 32)
	}
	return unix.Capset(&hdr, &data[0])
}

// dieAt ends the process by SIGKILL after a step of a load, by number and name,
// and prints those with that name; of all with listSteps.
func dieAt(step string) {
	number, wanted, _ := strings.Cut(step, " ")
	left, _ := strconv.Atoi(number)
	bpf.EachStep(func(name string) {
		if step == listSteps || name == wanted {
			fmt.Println(name)
			left--
		}
		if left == 0 {
			_ = unix.Kill(unix.Getpid(), unix.SIGKILL)
			select {}
		}
	})
}

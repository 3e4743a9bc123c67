//go:build linux

package node

import (
	"bufio"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/oomwitness/oomwitness/integration/guest"
)

// errDynamic reports a busybox that needs libraries, which the guest lacks.
var errDynamic = errors.New("busybox is not static: install busybox-static")

// findBusybox returns the machine's static busybox.
func findBusybox() (string, error) {
	name, err := exec.LookPath("busybox")
	if err != nil {
		return "", fmt.Errorf("find busybox: %w", err)
	}
	file, err := elf.Open(name)
	if err != nil {
		return "", fmt.Errorf("read busybox: %w", err)
	}
	defer file.Close()
	for _, prog := range file.Progs {
		if prog.Type == elf.PT_INTERP {
			return "", errDynamic
		}
	}
	return name, nil
}

// ensureInitramfs builds the initramfs of a kernel unless the cache has it.
func (c Config) ensureInitramfs(kernel *kernelFiles, busybox string) (string, error) {
	hash, err := guest.Hash("initramfs")
	if err != nil {
		return "", err
	}
	busyboxKey, err := fileKey(busybox)
	if err != nil {
		return "", err
	}
	prefix := "initramfs-" + c.Kernel + "-"
	inputs := key(kernel.version, hash, busyboxKey, strings.Join(bootModules, " "))
	name := filepath.Join(c.archCache(), prefix+inputs+".cpio")
	if exists(name) {
		return name, used(name, prefix)
	}
	c.step(2, "kernel %s: making its initramfs", kernel.version)
	if err := build(name, func(tmp string) error { return writeInitramfs(tmp, kernel, busybox) }); err != nil {
		return "", fmt.Errorf("initramfs: %w", err)
	}
	return name, used(name, prefix)
}

func writeInitramfs(name string, kernel *kernelFiles, busybox string) (err error) {
	file, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("create initramfs: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	buffer := bufio.NewWriter(file)
	archive := &cpio{w: buffer}
	for _, dir := range []string{"bin", "dev", "modules", "new", "proc", "sys"} {
		archive.dir(dir)
	}
	program, err := os.ReadFile(busybox)
	if err != nil {
		return fmt.Errorf("read busybox: %w", err)
	}
	archive.program("bin/busybox", program)
	if err := addModules(archive, kernel); err != nil {
		return err
	}
	tree, err := guest.Tree("initramfs")
	if err != nil {
		return err
	}
	script, err := fs.ReadFile(tree, "init")
	if err != nil {
		return fmt.Errorf("read init: %w", err)
	}
	archive.program("init", script)
	if err := archive.close(); err != nil {
		return err
	}
	return buffer.Flush()
}

// addModules adds the modules that the boot needs, all in one folder, and the
// list of their order.
func addModules(archive *cpio, kernel *kernelFiles) error {
	table, err := readModules(kernel.modules)
	if err != nil {
		return err
	}
	files, err := table.order(bootModules)
	if err != nil {
		return err
	}
	var list strings.Builder
	for _, file := range files {
		content, err := os.ReadFile(filepath.Join(kernel.modules, file))
		if err != nil {
			return fmt.Errorf("read module: %w", err)
		}
		archive.file("modules/"+filepath.Base(file), content)
		fmt.Fprintln(&list, filepath.Base(file))
	}
	archive.file("modules/list", []byte(list.String()))
	return nil
}

//go:build linux

package node

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
)

// TestSysrootOfAnEarlierBuild: a build links the library of its own sysroot. It must not link
// the library that an earlier build of the same package found in another sysroot: Go's cache
// keeps a package's linker flags and does not ask pkg-config again.
func TestSysrootOfAnEarlierBuild(t *testing.T) {
	for _, program := range []string{"gcc", "ar", "pkg-config"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs %s", program)
		}
	}
	p := platform{arch: Arch(runtime.GOARCH), libraries: "usr/lib/guest"}
	module := t.TempDir()
	write(t, module, "go.mod", "module oomwitness.test/sysroot\n\ngo 1.24\n")
	write(t, module, "main.go", `package main

// #cgo pkg-config: thing
// #include <thing.h>
import "C"
import "os"

func main() { os.Exit(int(C.thing())) }
`)
	for want := range 2 {
		root := thingSysroot(t, p, want)
		bin := t.TempDir()
		err := goBuild{platform: p, module: module, dir: bin, cgo: true, sysroot: root}.run(t.Context(), ".")
		if err != nil {
			t.Fatalf("build %d: %v", want, err)
		}
		cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "sysroot"))
		if _ = cmd.Run(); cmd.ProcessState.ExitCode() != want {
			t.Errorf("build %d: linked another library, exit %d", want, cmd.ProcessState.ExitCode())
		}
		if err := os.RemoveAll(root); err != nil {
			t.Fatal(err)
		}
	}
}

// thingSysroot makes a sysroot with a library of one function that returns value.
func thingSysroot(t *testing.T, p platform, value int) string {
	t.Helper()
	root := t.TempDir()
	libraries := filepath.Join(root, p.libraries)
	write(t, root, "usr/include/thing.h", "int thing(void);\n")
	write(t, libraries, "pkgconfig/thing.pc",
		"Name: thing\nDescription: a test's\nVersion: 1\nCflags: -I/usr/include\nLibs: -L/"+p.libraries+" -lthing\n")
	write(t, root, "thing.c", "int thing(void) { return "+strconv.Itoa(value)+"; }\n")
	for _, args := range [][]string{
		{"gcc", "-c", "-o", "thing.o", "thing.c"},
		{"ar", "rcs", filepath.Join(libraries, "libthing.a"), "thing.o"},
	} {
		if _, err := output(t.Context(), root, nil, args[0], args[1:]...); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

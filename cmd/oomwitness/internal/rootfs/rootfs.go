// Package rootfs finds the files of a system that may be mounted below a directory: of an image
// that is being built, or of a host seen from a container.
package rootfs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// maxLinks is the kernel's own limit on symbolic links in one lookup
// (MAXSYMLINKS in include/linux/namei.h).
const maxLinks = 40

// Dir is the root directory of a system. The zero value and "/" mean the
// running system.
type Dir string

// Running reports whether d is the running system rather than a tree.
func (d Dir) Running() bool {
	return d == "" || filepath.Clean(string(d)) == "/"
}

// Path returns the real path of the absolute path p as seen from inside d.
// Symbolic links are followed inside d, as a process with d as its root would
// follow them, so that an absolute link in an image never leads to the host.
// Components that do not exist are kept as they are. With more than 40 links
// the rest stays unresolved, and opening it fails with the kernel's ELOOP.
func (d Dir) Path(p string) string {
	if d.Running() {
		return path.Clean("/" + p)
	}
	return d.Resolve(p)
}

// Resolve is like Path, and follows the links of the running system too.
func (d Dir) Resolve(p string) string {
	var (
		root  = filepath.Clean(cmp.Or(string(d), "/"))
		done  = "/"
		rest  = strings.Split(path.Clean("/"+p), "/")
		links = 0
	)
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		next := path.Join(done, name)
		target, err := os.Readlink(filepath.Join(root, next))
		if err != nil || links >= maxLinks {
			done = next
			continue
		}
		links++
		if path.IsAbs(target) {
			done = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return filepath.Join(root, done)
}

// Entry is like Path, but leaves a symbolic link at p itself unresolved: it
// names the directory entry, for removing and replacing.
func (d Dir) Entry(p string) string {
	p = path.Clean("/" + p)
	return filepath.Join(d.Path(path.Dir(p)), path.Base(p))
}

// maxFile limits what is read of a file, or of the output of a program, in bytes.
const maxFile = 16 << 20

// ReadFile returns the content of the regular file p inside d. Another kind of file is an
// error: opening a FIFO would wait for a writer, and a device may have no end.
func (d Dir) ReadFile(p string) ([]byte, error) {
	f, err := os.OpenFile(d.Path(p), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file: %v", p, info.Mode())
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s is larger than %d bytes", p, maxFile)
	}
	return data, err
}

// Text returns the trimmed text of a small kernel file inside d. It returns "" for a file that
// cannot be read, which callers take for "the kernel does not say".
func (d Dir) Text(p string) string {
	data, err := d.ReadFile(p)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// Exists reports whether p exists inside d.
func (d Dir) Exists(p string) bool {
	_, err := os.Stat(d.Path(p))
	return err == nil
}

// Glob lists the paths inside d that match the absolute pattern, sorted, in
// the syntax of [path.Match].
func (d Dir) Glob(pattern string) ([]string, error) {
	matches, err := fs.Glob(inside{d}, strings.TrimPrefix(path.Clean(pattern), "/"))
	for i := range matches {
		matches[i] = "/" + matches[i]
	}
	return matches, err
}

// inside is a Dir as a file system. Unlike with [os.DirFS], links stay inside of the Dir.
type inside struct{ dir Dir }

// Open implements [fs.FS]. [fs.Glob] opens folders alone.
func (i inside) Open(name string) (fs.File, error) {
	return os.OpenFile(i.dir.Path(name), os.O_RDONLY|syscall.O_DIRECTORY, 0)
}

// Stat implements [fs.StatFS].
func (i inside) Stat(name string) (fs.FileInfo, error) { return os.Stat(i.dir.Path(name)) }

// IsExecutable reports whether p is a regular file inside d that somebody may execute.
func (d Dir) IsExecutable(p string) bool {
	info, err := os.Stat(d.Path(p))
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0
}

// LookPath finds the executable name in dirs inside d. It returns the path as seen from inside,
// "" if there is none. A name with a slash is not searched for.
func (d Dir) LookPath(name string, dirs []string) string {
	if strings.Contains(name, "/") {
		if d.IsExecutable(name) {
			return name
		}
		return ""
	}
	for _, dir := range dirs {
		if p := path.Join("/", dir, name); d.IsExecutable(p) {
			return p
		}
	}
	return ""
}

// runLimit limits the time of a program, which may have to be read from a slow disk first.
const runLimit = 30 * time.Second

// ErrSlow is the error of a program that did not end in time.
var ErrSlow = fmt.Errorf("it did not end within %s", runLimit)

// waitDelay limits the wait for the output of a program that has ended, while a child of the
// program keeps the pipe open. A busy node needs more than a second to read what is there.
const waitDelay = 10 * time.Second

// Program is a program of a system, to be run with the root of that system as its own:
// absolute paths in a tree's files stay inside the tree.
type Program struct {
	// Path is the file as seen from inside the root.
	Path string
	// Name is argv[0], "" for Path: some programs are several in one file.
	Name string
	// Env is the environment, nil for that of this process.
	Env []string
}

// Run runs a program in the directory / and returns its standard output, for 30 s and 16 MiB at
// most. The error ends with the last line that the program wrote to its standard error.
func (d Dir) Run(ctx context.Context, program Program, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, runLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, program.Path, args...)
	cmd.Args[0] = cmp.Or(program.Name, program.Path)
	// A child that keeps the pipe open must not delay this process.
	cmd.Dir, cmd.Env, cmd.WaitDelay = "/", program.Env, waitDelay
	if !d.Running() {
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: string(d)}
	}
	var out, stderr limited
	cmd.Stdout, cmd.Stderr = &out, &stderr
	err := cmd.Run()
	text := strings.TrimSpace(stderr.String())
	text = text[strings.LastIndex(text, "\n")+1:]
	switch {
	case out.full || stderr.full:
		err = fmt.Errorf("it printed more than %d bytes", maxFile)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		err = ErrSlow
	case ctx.Err() != nil:
		err = ctx.Err()
	case err != nil && text != "":
		err = fmt.Errorf("%w: %s", err, text)
	}
	return out.String(), err
}

// limited is a text of maxFile bytes at most. A program that writes more is ended by SIGPIPE.
type limited struct {
	strings.Builder
	full bool
}

func (l *limited) Write(text []byte) (int, error) {
	if l.Len()+len(text) > maxFile {
		l.full = true
		return 0, io.ErrShortWrite
	}
	return l.Builder.Write(text)
}

// Link returns the target of the symbolic link p inside d, "" if p is no link.
func (d Dir) Link(p string) string {
	target, err := os.Readlink(d.Entry(p))
	if err != nil {
		return ""
	}
	return target
}

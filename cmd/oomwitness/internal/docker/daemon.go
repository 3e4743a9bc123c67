package docker

import (
	"context"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/procs"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/rootfs"
)

// timeout limits each answer of dockerd.
const timeout = 10 * time.Second

// Process is a running dockerd.
type Process struct {
	PID int
	// Args are the flags, without the program's name.
	Args []string
	// Dir is the working directory, "" if it is not known.
	Dir string
}

// Processes lists the node's own dockerds, and those passed over, as [procs.Daemons] finds them.
func Processes(proc string) (out []Process, passedOver []string, err error) {
	pids, passedOver, err := procs.Daemons(proc, "dockerd")
	if err != nil {
		return nil, nil, err
	}
	for _, pid := range pids {
		dir := filepath.Join(proc, strconv.Itoa(pid))
		line, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil {
			continue // the process has ended
		}
		words := strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00")
		p := Process{PID: pid, Args: words[1:]}
		p.Dir, _ = os.Readlink(filepath.Join(dir, "cwd"))
		out = append(out, p)
	}
	return out, passedOver, nil
}

// Config returns the configuration file that the process reads: the last one that the flags
// name. A relative path is below the working directory.
func (p Process) Config() string {
	config := DefaultConfig
	for i, arg := range p.Args {
		arg = "-" + strings.TrimLeft(arg, "-")
		if value, found := strings.CutPrefix(arg, "-config-file="); found {
			config = value
		}
		if arg == "-config-file" && i+1 < len(p.Args) {
			config = p.Args[i+1]
		}
	}
	if !filepath.IsAbs(config) {
		config = filepath.Join(p.Dir, config)
	}
	return config
}

// Validate runs the dockerd program binary with --validate on a configuration file, with the
// flags args, which can contradict the file. It returns dockerd's objection. Docker 23.0 and
// later have the flag --validate.
func Validate(ctx context.Context, binary string, args []string, config string) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	args = append(append([]string{}, args...), "--validate", "--config-file", config)
	out, err := exec.CommandContext(ctx, binary, args...).CombinedOutput()
	if err == nil {
		return nil
	}
	text := strings.TrimSpace(string(out))
	text = text[strings.LastIndexByte(text, '\n')+1:]
	if text == "" {
		return fmt.Errorf("%s --validate: %w", binary, err)
	}
	return errors.New(text)
}

// ProgramVersion asks the dockerd program of a root for its version. The program's path is
// as seen from inside the root. If the program cannot be run, because it is
// for another machine, the version comes from the flags of the linker.
func ProgramVersion(ctx context.Context, root rootfs.Dir, program string) (Version, error) {
	out, err := root.Run(ctx, rootfs.Program{Path: program}, "--version")
	if err != nil {
		if text := linkedVersion(root.Path(program)); text != "" {
			return ParseVersion(text)
		}
		return Version{}, fmt.Errorf("%s --version: %w", program, err)
	}
	// "Docker version 20.10.24+dfsg1, build 297e128"
	fields := strings.Fields(out)
	if len(fields) < 3 {
		return Version{}, fmt.Errorf("%s --version: printed %q", program, strings.TrimSpace(out))
	}
	return ParseVersion(strings.TrimSuffix(fields[2], ","))
}

// linked matches the version among the linker's flags (hack/make.sh of Docker).
var linked = regexp.MustCompile(`dockerversion\.Version=([0-9][^\s"']*)`)

// linkedVersion returns the version that was linked into a program, "" for none.
func linkedVersion(file string) string {
	info, err := buildinfo.ReadFile(file)
	if err != nil {
		return ""
	}
	for _, setting := range info.Settings {
		if found := linked.FindStringSubmatch(setting.Value); setting.Key == "-ldflags" && found != nil {
			return found[1]
		}
	}
	return ""
}

// Client asks the dockerd at a socket, given by the socket's real path.
type Client struct{ Socket string }

// Version returns the version of the dockerd that answers.
func (c Client) Version(ctx context.Context) (Version, error) {
	var answer struct{ Version string }
	if err := c.get(ctx, "/version", &answer); err != nil {
		return Version{}, err
	}
	return ParseVersion(answer.Version)
}

// HasRuntime reports whether the running dockerd knows a runtime of that name. Docker 25.0 and
// later do not show which shim the runtime is: SystemInfo leaves out the type
// (daemon/info_unix.go).
func (c Client) HasRuntime(ctx context.Context, name string) (bool, error) {
	var answer struct{ Runtimes map[string]json.RawMessage }
	err := c.get(ctx, "/info", &answer)
	return answer.Runtimes[name] != nil, err
}

// AwaitRuntime waits until HasRuntime returns true: dockerd reports a reload in its log alone.
func (c Client) AwaitRuntime(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		has, err := c.HasRuntime(ctx, name)
		if has {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("dockerd did not load the runtime %q within %s: see its log", name, timeout), err)
		}
	}
}

func (c Client) get(ctx context.Context, path string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", c.Socket)
	}}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker"+path, nil)
	if err != nil {
		return err
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("no socket %s: %w", c.Socket, fs.ErrNotExist)
	}
	if err != nil {
		return fmt.Errorf("dockerd at %s: %w", c.Socket, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("dockerd at %s: GET %s: %s", c.Socket, path, response.Status)
	}
	const most = 16 << 20
	if err := json.NewDecoder(io.LimitReader(response.Body, most)).Decode(into); err != nil {
		return fmt.Errorf("dockerd at %s: GET %s: %w", c.Socket, path, err)
	}
	return nil
}

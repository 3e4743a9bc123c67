package preflight

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	versionapi "github.com/containerd/containerd/api/services/version/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

// askVersion asks the version service of a running containerd.
func askVersion(ctx context.Context, socket string) (string, error) {
	// Looked at first, because gRPC's own words for these are far from clear.
	if _, err := os.Stat(socket); err != nil {
		return "", err
	}
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	answer, err := versionapi.NewVersionClient(conn).Version(ctx, &emptypb.Empty{})
	if err != nil {
		return "", err
	}
	return answer.GetVersion(), nil
}

// containerd wants one that runs, and whose version is supported.
func (c Checker) containerd(ctx context.Context) []Finding {
	const name = "containerd"
	version, err := c.Version(ctx, c.Root.Path(c.Address))
	if err == nil {
		return []Finding{ok(name, "answers at %s", c.Address), supported(version, "")}
	}
	running := bad(Fail, name, "start it: systemctl start containerd; if its socket is elsewhere, name it with --address",
		"does not answer at %s: %s", c.Address, reason(err))
	if errors.Is(err, fs.ErrPermission) || strings.Contains(err.Error(), "permission denied") {
		running.Do = "run this command as root"
	}
	binary := c.Root.LookPath("containerd", c.Path)
	if binary == "" {
		return []Finding{running, bad(Fail, "containerd-version", "install containerd 2.3 or later",
			"no containerd program in %s", strings.Join(c.Path, ":"))}
	}
	out, err := c.Run(ctx, c.Root.Path(binary), "--version")
	if err != nil {
		return []Finding{running, bad(Warn, "containerd-version", "see that it runs: "+binary+" --version",
			"%s --version: %v", binary, err)}
	}
	// "containerd github.com/containerd/containerd/v2 v2.1.4 75cb2b71..."
	fields := strings.Fields(out)
	if len(fields) < 3 {
		return []Finding{running, supported(firstLine(out), " ("+binary+")")}
	}
	return []Finding{running, supported(fields[2], " ("+binary+")")}
}

// supported judges a containerd version. Shims built on containerd 2.4's library
// refuse the bootstrap of those before 2.3 (pkg/shim/compat.go).
func supported(version, where string) Finding {
	const name = "containerd-version"
	major, minor, known := release(version)
	switch {
	case !known:
		return bad(Warn, name, "containerd 2.3 and later are supported", "cannot read the version %q%s", version, where)
	case !atLeast(major, minor, 2, 3):
		return bad(Fail, name, "upgrade to containerd 2.3 or later: older ones start shims in a way that this one refuses", "%s%s", version, where)
	}
	return ok(name, "%s%s", version, where)
}

// reason is an error in an operator's words.
func reason(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "no such socket"
	case errors.Is(err, fs.ErrPermission):
		return "permission denied"
	case status.Code(err) == codes.DeadlineExceeded:
		return fmt.Sprintf("no answer within %s", timeout)
	}
	if s, ok := status.FromError(err); ok {
		return s.Message()
	}
	return err.Error()
}

// startedAt gives when the process named comm below Root started, from field
// 22 of its stat (proc_pid_stat(5)) and the boot time; false where there is
// none, or procfs does not say.
func (c Checker) startedAt(comm string) (time.Time, bool) {
	var boot int64
	for line := range strings.Lines(c.Root.Text("/proc/stat")) {
		if value, found := strings.CutPrefix(line, "btime "); found {
			boot, _ = strconv.ParseInt(strings.TrimSpace(value), 10, 64)
		}
	}
	if boot == 0 {
		return time.Time{}, false
	}
	pid := c.pidOf(comm)
	if pid == "" {
		return time.Time{}, false
	}
	stat := c.Root.Text("/proc/" + pid + "/stat")
	// The name in parentheses may hold spaces; what follows begins with
	// field 3.
	fields := strings.Fields(stat[strings.LastIndex(stat, ")")+1:])
	if len(fields) < 20 {
		return time.Time{}, false
	}
	ticks, err := strconv.ParseInt(fields[19], 10, 64)
	if err != nil {
		return time.Time{}, false
	}
	// USER_HZ is 100 on every architecture that Go runs on.
	return time.Unix(boot, 0).Add(time.Duration(ticks) * 10 * time.Millisecond), true
}

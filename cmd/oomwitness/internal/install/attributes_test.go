package install_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/criconf"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/docker"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/install"
)

// TestAttributesStay: install and uninstall keep an ACL and other extended attributes of the
// owner's files.
func TestAttributesStay(t *testing.T) {
	o := legacy(t, "1.7.35", legacyMain)
	o.EditConfig = true
	put(t, o.Root, docker.DefaultConfig, "{}\n")
	// The ACL of acl(5) "u::rw-,u:12:r--,g::r--,m::r--,o::---" as the kernel stores it.
	acl := []byte("\x02\x00\x00\x00" + "\x01\x00\x06\x00\xff\xff\xff\xff" + "\x02\x00\x04\x00\x0c\x00\x00\x00" +
		"\x04\x00\x04\x00\xff\xff\xff\xff" + "\x10\x00\x04\x00\xff\xff\xff\xff" + "\x20\x00\x00\x00\xff\xff\xff\xff")
	want := map[string]string{"user.x": "mine", "system.posix_acl_access": string(acl)}
	paths := []string{criconf.DefaultPath, docker.DefaultConfig}
	for _, file := range paths {
		for name, value := range want {
			if err := unix.Setxattr(o.Root.Path(file), name, []byte(value), 0); err != nil {
				if name == "system.posix_acl_access" {
					delete(want, name)
					continue
				}
				t.Skipf("needs a file system with extended attributes: %v", err)
			}
		}
	}
	check := func() {
		for _, file := range paths {
			for name, value := range want {
				have := make([]byte, 100)
				size, err := unix.Getxattr(o.Root.Path(file), name, have)
				require.NoError(t, err, "%s of %s", name, file)
				require.Equal(t, value, string(have[:size]))
			}
			info, err := os.Stat(o.Root.Path(file))
			require.NoError(t, err)
			require.NotZero(t, info.Mode().Perm())
		}
	}
	_, err := install.Install(t.Context(), o)
	require.NoError(t, err)
	_, err = install.InstallDocker(t.Context(), o)
	require.NoError(t, err)
	check()
	_, err = install.Uninstall(t.Context(), o)
	require.NoError(t, err)
	check()
}

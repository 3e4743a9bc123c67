// Package digest stands in the place of github.com/opencontainers/go-digest where the shim is
// linked (see modfile.sh). A shim reads no image: the types of an image, which containerd's API
// refers to, need only the name of a digest. The module compiles its regular expressions at
// each start of a shim, and keeps them.
package digest

// Digest names content by its hash.
type Digest string

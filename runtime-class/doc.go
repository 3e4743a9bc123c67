// Package runtimeclass is the RuntimeClass as it is shipped. Its tests hold the
// manifests and the Helm chart of this folder to what they say.
package runtimeclass

import _ "embed"

// Manifest is the RuntimeClass, as YAML, for nodes with the label that it names.
//
//go:embed runtimeclass.yaml
var Manifest []byte

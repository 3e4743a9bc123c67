// Package runtimeclass has no code: its tests hold the manifests and the Helm chart
// of this folder to what they say.
package runtimeclass

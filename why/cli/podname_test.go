package cli_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/why/cli"
)

// TestParsePodName: kubectl's forms and NAMESPACE/POD have one meaning each, also where a
// namespace has the name of one of kubectl's types.
func TestParsePodName(t *testing.T) {
	for text, want := range map[string]cli.PodName{
		"hog": {Pod: "hog"}, "pod/hog": {Pod: "hog"}, "pods/hog": {Pod: "hog"}, "po/hog": {Pod: "hog"}, "Pod/hog": {Pod: "hog"},
		"shop/hog": {Namespace: "shop", Pod: "hog"}, "shop/hog/app": {Namespace: "shop", Pod: "hog", Container: "app"},
		"pod/hog/app": {Namespace: "pod", Pod: "hog", Container: "app"}, "deploy/hog/app": {Namespace: "deploy", Pod: "hog", Container: "app"},
		"pod/pod": {Pod: "pod"}, "pod": {Pod: "pod"}, "deploy": {Pod: "deploy"}, "shop/pod": {Namespace: "shop", Pod: "pod"},
	} {
		name, err := cli.ParsePodName(text)
		require.NoError(t, err, text)
		require.Equal(t, want, name, text)
	}
	for text, want := range map[string]string{
		"": "empty", "/": "empty", "/a": "empty", "a/": "empty", "a//b": "empty", "a/b/c/d": "too many",
		"deploy/web": "if deploy is a namespace: -n deploy web", "Job/x": "-n Job x", "node/a": "-n node a",
	} {
		_, err := cli.ParsePodName(text)
		require.ErrorContains(t, err, want, text)
	}
}

// TestPodNameFlags: a flag adds what the argument does not name, and contradicts nothing.
func TestPodNameFlags(t *testing.T) {
	name, err := cli.PodName{Pod: "hog"}.Flags("pod/hog", "pod", "app")
	require.NoError(t, err)
	require.Equal(t, cli.PodName{Namespace: "pod", Pod: "hog", Container: "app"}, name)
	full := cli.PodName{Namespace: "a", Pod: "b", Container: "c"}
	name, err = full.Flags("a/b/c", "a", "c")
	require.NoError(t, err)
	require.Equal(t, full, name)
	_, err = full.Flags("a/b/c", "x", "")
	require.EqualError(t, err, `--namespace "x" with "a/b/c": allowed is one namespace`)
	_, err = full.Flags("a/b/c", "", "x")
	require.EqualError(t, err, `--container "x" with "a/b/c": allowed is one container`)
}

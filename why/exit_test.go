package why_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/why"
)

func TestStatusOf(t *testing.T) {
	wrong := errors.New("wrong")
	require.Zero(t, why.StatusOf(nil))
	require.NoError(t, why.Usage(nil))
	require.Equal(t, why.StatusError, why.StatusOf(wrong))
	require.Equal(t, why.StatusUsage, why.StatusOf(fmt.Errorf("x: %w", why.Usage(wrong))))
	require.Equal(t, why.StatusNotFound, why.StatusOf(why.NotFound("no %s", "pod")))
	require.EqualError(t, why.NotFound("no %s", "pod"), "no pod")
	require.Empty(t, (&why.Exit{Status: why.StatusOOM}).Error())
	require.ErrorIs(t, why.Usage(wrong), wrong)
}

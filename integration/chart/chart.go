// Package chart puts the Helm chart into the guest's cluster with the image that
// "make image" makes, and takes it off again: as an operator does, by kubectl and
// Helm.
package chart

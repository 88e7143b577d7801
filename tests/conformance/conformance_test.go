// Package conformance is the official suite of Gateway API as a test of its own: `cargo xtask conformance` builds it with
// the versions that go.mod and go.sum hold, and runs it on a cluster with its flags.
package conformance

import (
	"fmt"
	"testing"

	"sigs.k8s.io/gateway-api/conformance"
	"sigs.k8s.io/gateway-api/conformance/utils/suite"
)

func TestConformance(t *testing.T) {
	options := conformance.DefaultOptions(t)
	options.Hook = tell
	conformance.RunConformanceWithOptions(t, options)
}

// tell says how a test has ended, at once: what Go says of it by itself comes when all tests have.
func tell(t *testing.T, test suite.ConformanceTest, _ *suite.ConformanceTestSuite) {
	outcome := "PASS"
	switch {
	case t.Failed():
		outcome = "FAIL"
	case t.Skipped():
		outcome = "SKIP"
	}
	fmt.Printf("=== OUTCOME %s %s\n", outcome, test.ShortName)
}

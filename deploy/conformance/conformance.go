// Package conformance holds Carillon to the protocols of Exposure Notifications
// Express, over HTTP, as a client sees it.
//
// Its tests are two lists of rules, of the verification server and of the key server,
// each rule under the section of the protocol that states it. A rule says what Carillon
// does; where the reference implementation does something else, or its documents and
// its code disagree, it says that too. deploy/docs/conformance.md is written from the
// lists, so the document cannot claim what is not tested.
package conformance

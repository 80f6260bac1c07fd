// Package backup copies a deployment so that it can be had back.
//
// The rows of tenants and the keys that open what is sealed in them are kept apart: see
// [KeyStore].
package backup

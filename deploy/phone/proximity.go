package phone

import (
	"crypto/aes"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// ProximityID is what a phone with a temporary exposure key broadcasts in a ten-minute
// interval since the epoch: its rolling proximity identifier (Apple and Google, Exposure
// Notification Cryptography Specification 1.2).
func ProximityID(key [tekSize]byte, interval int32) ([tekSize]byte, error) {
	secret, err := hkdf.Key(sha256.New, key[:], nil, "EN-RPIK", tekSize)
	if err != nil {
		return [tekSize]byte{}, fmt.Errorf("proximity identifier: %w", err)
	}
	block, err := aes.NewCipher(secret)
	if err != nil {
		return [tekSize]byte{}, fmt.Errorf("proximity identifier: %w", err)
	}
	var plain, id [tekSize]byte
	copy(plain[:], "EN-RPI")
	binary.LittleEndian.PutUint32(plain[12:], uint32(interval))
	block.Encrypt(id[:], plain[:])
	return id, nil
}

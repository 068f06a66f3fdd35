"""Small networks on frames of MFCC or log-mel."""

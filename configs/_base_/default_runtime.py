custom_imports = dict(imports=["ovseg.mmseg"], allow_failed_imports=False)
default_scope = "mmseg"
env_cfg = dict(
    cudnn_benchmark=False,  # its choice may differ between runs, and with it the last digits
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
    dist_cfg=dict(backend="nccl"),  # gloo where there is no GPU
)
model_wrapper_cfg = dict(type="EachAlone")  # under a launcher: frozen models exchange nothing
default_hooks = dict(
    timer=dict(type="IterTimerHook"),
    logger=dict(type="LoggerHook", interval=50, log_metric_by_epoch=False),
)
custom_hooks = [dict(type="ProgressHook")]
vis_backends = [dict(type="LocalVisBackend")]
visualizer = dict(type="SegLocalVisualizer", vis_backends=vis_backends)
log_processor = dict(by_epoch=False)
log_level = "INFO"
load_from = None
resume = False
test_cfg = dict(type="TestLoop")
tta_model = dict(type="AveragedViews")

"""Log a training run to Weights & Biases or MLflow, from the command line.

    pip install wandb
    keras-mlp train --model=mlp_mixer --config=patch_size=2,dim=64,depth=3 --dataset=digits --image_size=16 \\
        --output=runs/digits "--callback=trackers:wandb_logger(project=digits,mode=offline)"

    pip install mlflow
    keras-mlp train … "--callback=trackers:mlflow_logger(experiment=digits)"

Start in the folder of this file, or copy it to where you start. Both functions begin a run of the tracker, which its
own callback needs, and return that callback; `wandb sync` uploads what "offline" has written.
"""


def wandb_logger(project="keras_mlp", mode="online", log_freq="epoch"):
    """Weights & Biases' callback, in a run of its own."""
    import wandb
    from wandb.integration.keras import WandbMetricsLogger

    wandb.init(project=project, mode=mode)
    return WandbMetricsLogger(log_freq=log_freq)


def mlflow_logger(experiment="keras_mlp", uri=None):
    """MLflow's callback, in a run of its own; `uri` is where MLflow keeps its runs, by default what it is set to."""
    import mlflow
    from mlflow.keras import MlflowCallback

    if uri:
        mlflow.set_tracking_uri(uri)
    mlflow.set_experiment(experiment)
    mlflow.start_run()
    return MlflowCallback()
